from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Numeric, Text, text
from sqlmodel import Field

from app.infra.postgres.orm.row import Row, UtcDateTime

PENDING = text("snapshot_title IS NULL AND rejected_at IS NULL")
"""The condition of partial indexes that the SQL function `favorite_is_pending` expands to."""

_FROM_ZERO: dict[str, Any] = {"server_default": text("0")}


class FavoriteRow(Row, table=True):
    """
    A favorite; `added_in` and `changed_in` are versions of the list (`ListRow`).

    They are 0 for favorites that are older than versions.
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
        # For the orders by time; by price or title the list is sorted after the join.
        Index(None, "customer_id", "favorited_at", "product_id"),
        Index(None, "customer_id", "changed_in", "product_id"),
        Index(None, "product_id"),
        Index("ix_favorites_pending_product_id", "product_id", postgresql_where=PENDING),
        Index("ix_favorites_pending_customer_id", "customer_id", postgresql_where=PENDING),
        # Frequent vacuums keep the visibility map current, so that `contains` reads indexes only.
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


class TombstoneRow(Row, table=True):
    """
    A removed favorite; its content is null once it cannot be restored any more.

    `changed_in` is the first version of the list without it.
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
    A customer's list as a whole; a change of the list locks this row.

    `version` counts the changes, `size` the favorites. Removals up to version `forgotten_to` may
    be erased. States of products up to version `catalog_seen` of the catalog are entered into the
    history of the list.
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
