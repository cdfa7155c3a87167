from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, Index, Numeric, SmallInteger, Text, text
from sqlmodel import Field

from app.domain.product import (
    CachedProduct,
    CatalogState,
    PricePoint,
    Product,
    ProductId,
    Rating,
    RefreshState,
    UnknownProduct,
)
from app.infra.postgres.orm.row import FoldedText, Row, UtcDateTime

_LISTED = text("fetched_at IS NOT NULL AND removed_at IS NULL")


class ProductRow(Row, table=True):
    """
    The last known copy of a product, or without one (`fetched_at` null) what is known of its id.

    `price_since` is the question whose answer first had this price. `state_version` is the version
    of the catalog (`CatalogRow`) in which it was removed or came back the last time.
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
        # None by title: the catalog is one answer of at most 1 MiB, which sorts in a moment, and a
        # title longer than an index takes must not keep the other products from being stored.
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
        # Claims change no indexed column: with room on the page they are cheap (HOT).
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

    def to_entity(self) -> CachedProduct | UnknownProduct:
        return self.to_cached() or UnknownProduct(
            id=ProductId(self.product_id),
            absent_until=self.absent_until,
            refresh=self._refresh(),
        )

    def to_cached(self) -> CachedProduct | None:
        """Return the copy, None if there is none."""
        if (
            self.title is None
            or self.price is None
            or self.description is None
            or self.category is None
            or self.image is None
            or self.fetched_at is None
        ):
            return None
        rate, count = self.rating_rate, self.rating_count
        return CachedProduct(
            product=Product(
                id=ProductId(self.product_id),
                title=self.title,
                price=self.price,
                description=self.description,
                category=self.category,
                image=self.image,
                rating=None if rate is None or count is None else Rating(rate=rate, count=count),
            ),
            fetched_at=self.fetched_at,
            refresh=self._refresh(),
            missing_since=self.missing_since,
            removed_at=self.removed_at,
        )

    def _refresh(self) -> RefreshState:
        return RefreshState(claimed_until=self.claimed_until, blocked_until=self.blocked_until)


class PriceRow(Row, table=True):
    """Prices outlive the copy they were seen in; hence no foreign key."""

    __tablename__ = "product_prices"

    product_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    seen_at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    price: Decimal = Field(sa_type=Numeric(12, 2))

    def to_entity(self) -> PricePoint:
        return PricePoint(price=self.price, seen_at=self.seen_at)


class CatalogRow(Row, table=True):
    """
    The state of the catalog as a whole: one row, made by the first who needs it.

    `content_version` counts the changes of what products look like.
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

    def to_entity(self) -> CatalogState:
        return CatalogState(
            fetched_at=self.fetched_at,
            refresh=RefreshState(
                claimed_until=self.claimed_until, blocked_until=self.blocked_until
            ),
        )
