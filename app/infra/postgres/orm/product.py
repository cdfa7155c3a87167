from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, Index, Numeric, SmallInteger, Text, text
from sqlmodel import Field

from app.infra.postgres.orm.row import FoldedText, Row, UtcDateTime

_LISTED = text("fetched_at IS NOT NULL AND removed_at IS NULL")


class ProductRow(Row, table=True):
    """
    The last known copy of a product, or what is known of an id without one (`fetched_at` null).

    `price_since` is the moment of the first request that was answered with this price.
    `state_version` is the version of the catalog (`CatalogRow`) in which the product was last
    removed or available again. `claimed_until` is the end of the lease on fetching it.
    """

    __tablename__ = "products_cache"
    __table_args__ = (
        CheckConstraint("product_id > 0", name="product_id"),
        CheckConstraint(
            "num_nulls(title, title_key, price, price_since, description, category, image,"
            " fetched_at) IN (0, 8)",
            name="copy",
        ),
        CheckConstraint(
            "num_nulls(rating_rate, rating_count) = 2"
            " OR (num_nulls(rating_rate, rating_count) = 0 AND fetched_at IS NOT NULL)",
            name="rating",
        ),
        CheckConstraint("absent_until IS NULL OR fetched_at IS NULL", name="absent"),
        CheckConstraint("missing_since IS NULL OR fetched_at IS NOT NULL", name="missing"),
        CheckConstraint("removed_at IS NULL OR missing_since IS NOT NULL", name="removed"),
        Index("ix_products_cache_price", "price", "product_id", postgresql_where=_LISTED),
        # No index by title: the catalog is one response of at most 1 MiB, which is sorted quickly,
        # and a title that is too long for an index must not prevent that products are stored.
        Index(
            "ix_products_cache_fetched_at", "fetched_at", "product_id", postgresql_where=_LISTED
        ),
        Index(
            "ix_products_cache_unknown",
            "product_id",
            postgresql_where=text("fetched_at IS NULL"),
        ),
        Index(
            "ix_products_cache_state_version",
            "state_version",
            postgresql_where=text("state_version > 0"),
        ),
        # Leases change no indexed column: with room on the page they are cheap (HOT).
        {"postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.05}},
    )

    product_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    title: str | None = Field(sa_type=Text)
    title_key: str | None = Field(sa_type=FoldedText)
    price: Decimal | None = Field(sa_type=Numeric(12, 2))
    price_since: datetime | None = Field(sa_type=UtcDateTime)
    description: str | None = Field(sa_type=Text)
    category: str | None = Field(sa_type=Text)
    image: str | None = Field(sa_type=Text)
    rating_rate: Decimal | None = Field(sa_type=Numeric)
    rating_count: int | None = Field(sa_type=BigInteger)
    fetched_at: datetime | None = Field(sa_type=UtcDateTime)
    claimed_until: datetime | None = Field(sa_type=UtcDateTime)
    blocked_until: datetime | None = Field(sa_type=UtcDateTime)
    absent_until: datetime | None = Field(sa_type=UtcDateTime)
    missing_since: datetime | None = Field(sa_type=UtcDateTime)
    removed_at: datetime | None = Field(sa_type=UtcDateTime)
    state_version: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")}
    )


class PriceRow(Row, table=True):
    """Prices outlive the copy they were seen in; hence no foreign key."""

    __tablename__ = "product_prices"

    product_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    seen_at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    price: Decimal = Field(sa_type=Numeric(12, 2))


class CatalogRow(Row, table=True):
    """
    The state of the catalog as a whole: one row, created by the first transaction that needs it.

    `content_version` counts the changes of products. `claimed_until` is the end of the lease on
    fetching the whole catalog.
    """

    __tablename__ = "catalog_state"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    id: int = Field(
        primary_key=True, sa_type=SmallInteger, sa_column_kwargs={"autoincrement": False}
    )
    fetched_at: datetime | None = Field(sa_type=UtcDateTime)
    claimed_until: datetime | None = Field(sa_type=UtcDateTime)
    blocked_until: datetime | None = Field(sa_type=UtcDateTime)
    content_version: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")}
    )
