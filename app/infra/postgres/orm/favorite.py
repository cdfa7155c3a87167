from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Numeric, Text, text
from sqlmodel import Field

from app.domain.customer import CustomerId
from app.domain.favorite import Favorite, Snapshot
from app.domain.product import ProductId, Rating
from app.infra.postgres.orm.row import Row, UtcDateTime

PENDING = text("snapshot_title IS NULL AND rejected_at IS NULL")
"""Says that a favorite waits for the catalog."""

_FROM_ZERO: dict[str, Any] = {"server_default": text("0")}


class FavoriteRow(Row, table=True):
    """
    A favorite; `added_in` and `changed_in` are versions of the list (`ListRow`).

    They are 0 of what was favorited before there were versions.
    """

    __tablename__ = "favorites"
    __table_args__ = (
        CheckConstraint("product_id > 0", name="product_id"),
        CheckConstraint(
            "num_nulls(snapshot_title, snapshot_price, snapshot_image) IN (0, 3)", name="snapshot"
        ),
        CheckConstraint(
            "num_nulls(snapshot_rate, snapshot_rating_count) = 2"
            " OR (num_nulls(snapshot_rate, snapshot_rating_count) = 0"
            " AND snapshot_title IS NOT NULL)",
            name="snapshot_rating",
        ),
        CheckConstraint("snapshot_title IS NULL OR rejected_at IS NULL", name="rejected"),
        # Newest and oldest first; by price or title the list is sorted after the join.
        Index(None, "customer_id", "favorited_at", "product_id"),
        Index(None, "customer_id", "changed_in", "product_id"),
        Index(None, "product_id"),
        Index("ix_favorites_pending_product_id", "product_id", postgresql_where=PENDING),
        Index("ix_favorites_pending_customer_id", "customer_id", postgresql_where=PENDING),
        # "Contains" reads the index alone as long as vacuum keeps the visibility map fresh.
        {
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": 0.05,
                "autovacuum_vacuum_insert_scale_factor": 0.05,
            }
        },
    )

    customer_id: UUID = Field(primary_key=True, foreign_key="customers.id", ondelete="CASCADE")
    product_id: int = Field(primary_key=True)
    favorited_at: datetime = Field(sa_type=UtcDateTime)
    snapshot_title: str | None = Field(sa_type=Text)
    snapshot_price: Decimal | None = Field(sa_type=Numeric(12, 2))
    snapshot_image: str | None = Field(sa_type=Text)
    snapshot_rate: Decimal | None = Field(sa_type=Numeric)
    snapshot_rating_count: int | None = Field(sa_type=BigInteger)
    rejected_at: datetime | None = Field(sa_type=UtcDateTime)
    added_in: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_FROM_ZERO)
    changed_in: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_FROM_ZERO)

    @classmethod
    def from_entity(cls, favorite: Favorite) -> "FavoriteRow":
        snapshot = favorite.when_favorited
        rating = snapshot.rating if snapshot else None
        return cls(
            customer_id=favorite.customer_id,
            product_id=favorite.product_id,
            favorited_at=favorite.favorited_at,
            snapshot_title=snapshot.title if snapshot else None,
            snapshot_price=snapshot.price if snapshot else None,
            snapshot_image=snapshot.image if snapshot else None,
            snapshot_rate=rating.rate if rating else None,
            snapshot_rating_count=rating.count if rating else None,
            rejected_at=favorite.rejected_at,
        )

    def to_entity(self) -> Favorite:
        return Favorite(
            customer_id=CustomerId(self.customer_id),
            product_id=ProductId(self.product_id),
            favorited_at=self.favorited_at,
            when_favorited=self._snapshot(),
            rejected_at=self.rejected_at,
        )

    def _snapshot(self) -> Snapshot | None:
        title, price, image = self.snapshot_title, self.snapshot_price, self.snapshot_image
        if title is None or price is None or image is None:
            return None
        rate, count = self.snapshot_rate, self.snapshot_rating_count
        return Snapshot(
            title=title,
            price=price,
            image=image,
            rating=None if rate is None or count is None else Rating(rate=rate, count=count),
        )


class TombstoneRow(Row, table=True):
    """
    That a favorite was removed; what it was is null once it cannot be restored any more.

    `changed_in` is the version of the list that has it no more.
    """

    __tablename__ = "favorite_tombstones"
    __table_args__ = (
        Index(None, "customer_id", "changed_in", "product_id"),
        Index(None, "removed_at"),
        Index(
            "ix_favorite_tombstones_restorable",
            "removed_at",
            postgresql_where=text("favorited_at IS NOT NULL"),
        ),
    )

    customer_id: UUID = Field(primary_key=True, foreign_key="customers.id", ondelete="CASCADE")
    product_id: int = Field(primary_key=True)
    changed_in: int = Field(sa_type=BigInteger)
    removed_at: datetime = Field(sa_type=UtcDateTime)
    favorited_at: datetime | None = Field(sa_type=UtcDateTime)
    snapshot_title: str | None = Field(sa_type=Text)
    snapshot_price: Decimal | None = Field(sa_type=Numeric(12, 2))
    snapshot_image: str | None = Field(sa_type=Text)
    snapshot_rate: Decimal | None = Field(sa_type=Numeric)
    snapshot_rating_count: int | None = Field(sa_type=BigInteger)
    rejected_at: datetime | None = Field(sa_type=UtcDateTime)


class ListRow(Row, table=True):
    """
    A customer's list as a whole; whoever changes the list holds this row.

    `version` counts the changes, `size` the favorites. Removals up to version `forgotten_to` may
    be forgotten. States of products up to the catalog's version `catalog_seen` are entered into
    the list's history.
    """

    __tablename__ = "favorite_lists"
    __table_args__ = (
        CheckConstraint("size >= 0", name="size"),
        {"postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.05}},
    )

    customer_id: UUID = Field(primary_key=True, foreign_key="customers.id", ondelete="CASCADE")
    version: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_FROM_ZERO)
    size: int = Field(default=0, sa_column_kwargs=_FROM_ZERO)
    forgotten_to: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_FROM_ZERO)
    catalog_seen: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_FROM_ZERO)


class PopularityRow(Row, table=True):
    """How many customers favor a product."""

    __tablename__ = "product_popularity"
    __table_args__ = (
        CheckConstraint("favorites >= 0", name="favorites"),
        Index(None, "favorites", "product_id"),
    )

    product_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    favorites: int = Field(sa_type=BigInteger)
