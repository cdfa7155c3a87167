from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, Integer, any_, tuple_
from sqlalchemy.orm import Mapped
from sqlmodel import col, func, literal, select
from typing_extensions import override

from app.domain.customer import fold
from app.domain.page import Page, Position
from app.domain.product import (
    CachedProduct,
    CatalogState,
    PricePoint,
    Product,
    ProductId,
    ProductQuery,
    ProductSort,
    UnknownProduct,
)
from app.domain.repository import ProductRepository
from app.infra.postgres.orm.favorite import FavoriteRow
from app.infra.postgres.orm.product import CatalogRow, PriceRow, ProductRow
from app.infra.postgres.repository import product_sql
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresProductRepository(ProductRepository):
    """Several products are locked in the order of their ids."""

    _transaction: Transaction

    @override
    async def get(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        return (await self.get_many([product_id])).get(product_id)

    @override
    async def get_many(
        self, product_ids: Collection[ProductId]
    ) -> Mapping[ProductId, CachedProduct | UnknownProduct]:
        rows = await self._transaction.all(
            select(ProductRow).where(
                col(ProductRow.product_id) == any_(literal(_sorted(product_ids), ARRAY(Integer)))
            )
        )
        return {ProductId(row.product_id): row.to_entity() for row in rows}

    @override
    async def list_page(self, query: ProductQuery) -> Page[CachedProduct]:
        columns, descending = _ORDERS[query.sort]
        statement = select(ProductRow).where(*_LISTED)
        if query.category is not None:
            statement = statement.where(ProductRow.category == query.category)
        if query.q is not None:
            statement = statement.where(func.strpos(col(ProductRow.title_key), fold(query.q)) > 0)
        if query.after is not None:
            place, start = tuple_(*columns), _start(query.sort, query.after)
            statement = statement.where(place < start if descending else place > start)
        rows = await self._transaction.all(
            statement.order_by(*(c.desc() if descending else c for c in columns)).limit(
                query.limit + 1
            )
        )
        products = [cached for row in rows[: query.limit] if (cached := row.to_cached())]
        more = len(rows) > query.limit
        return Page(
            items=products, next=_position(products[-1].product, query.sort) if more else None
        )

    @override
    async def claim(
        self, product_ids: Collection[ProductId], *, now: datetime, until: datetime
    ) -> frozenset[ProductId]:
        claimed = await self._transaction.sql(
            product_sql.CLAIM, product_ids=_sorted(product_ids), now=now, until=until
        )
        return frozenset(ProductId(product_id) for (product_id,) in claimed)

    @override
    async def block(self, product_ids: Collection[ProductId], *, until: datetime) -> None:
        await self._transaction.sql(
            product_sql.BLOCK, product_ids=_sorted(product_ids), until=until
        )

    @override
    async def store(self, products: Collection[Product], *, asked_at: datetime) -> None:
        last = {product.id: product for product in products}
        ordered = [last[product_id] for product_id in sorted(last)]
        ratings = [product.rating for product in ordered]
        await self._transaction.sql(product_sql.LOCK_CATALOG)
        await self._transaction.sql(
            product_sql.STORE,
            asked_at=asked_at,
            product_ids=[product.id for product in ordered],
            titles=[product.title for product in ordered],
            title_keys=[fold(product.title) for product in ordered],
            prices=[product.price for product in ordered],
            descriptions=[product.description for product in ordered],
            categories=[product.category for product in ordered],
            images=[product.image for product in ordered],
            rates=[rating.rate if rating else None for rating in ratings],
            rating_counts=[rating.count if rating else None for rating in ratings],
        )

    @override
    async def note_absence(
        self, product_id: ProductId, *, asked_at: datetime, until: datetime
    ) -> None:
        await self._transaction.sql(product_sql.LOCK_CATALOG)
        await self._transaction.sql(
            product_sql.NOTE_ABSENCE, product_id=product_id, asked_at=asked_at, until=until
        )

    @override
    async def note_complete_list(
        self, product_ids: Collection[ProductId], *, asked_at: datetime
    ) -> frozenset[ProductId]:
        await self._transaction.sql(product_sql.LOCK_CATALOG)
        noted = await self._transaction.sql(
            product_sql.NOTE_UNLISTED, product_ids=_sorted(product_ids), asked_at=asked_at
        )
        await self._transaction.sql(product_sql.NOTE_CATALOG, asked_at=asked_at)
        return frozenset(ProductId(product_id) for product_id, removed in noted if removed)

    @override
    async def catalog_state(self) -> CatalogState:
        row = await self._transaction.first(select(CatalogRow))
        return row.to_entity() if row else CatalogState()

    @override
    async def claim_catalog(self, *, now: datetime, until: datetime) -> bool:
        return bool(await self._transaction.sql(product_sql.CLAIM_CATALOG, now=now, until=until))

    @override
    async def block_catalog(self, *, until: datetime) -> None:
        await self._transaction.sql(product_sql.BLOCK_CATALOG, until=until)

    @override
    async def list_favorited(self, *, fetched_before: datetime, limit: int) -> Sequence[ProductId]:
        favorited = select(FavoriteRow.product_id).where(
            col(FavoriteRow.product_id) == col(ProductRow.product_id)
        )
        found = await self._transaction.all(
            select(ProductRow.product_id)
            .where(*_LISTED, col(ProductRow.fetched_at) < fetched_before, favorited.exists())
            .order_by(col(ProductRow.fetched_at), col(ProductRow.product_id))
            .limit(limit)
        )
        return [ProductId(product_id) for product_id in found]

    @override
    async def price_history(self, product_id: ProductId) -> Sequence[PricePoint]:
        rows = await self._transaction.all(
            select(PriceRow)
            .where(PriceRow.product_id == product_id)
            .order_by(col(PriceRow.seen_at))
        )
        return [row.to_entity() for row in rows]

    @override
    async def purge_unknown(self, *, now: datetime) -> int:
        return len(await self._transaction.sql(product_sql.PURGE_UNKNOWN, now=now))


def _sorted(product_ids: Collection[ProductId]) -> list[ProductId]:
    return sorted(set(product_ids))


_LISTED = (col(ProductRow.fetched_at).is_not(None), col(ProductRow.removed_at).is_(None))

_PRICE = (col(ProductRow.price), col(ProductRow.product_id))
_ORDERS: dict[ProductSort, tuple[tuple[Mapped[Any], ...], bool]] = {
    ProductSort.ID: ((col(ProductRow.product_id),), False),
    ProductSort.CHEAPEST: (_PRICE, False),
    ProductSort.DEAREST: (_PRICE, True),
    ProductSort.TITLE: ((col(ProductRow.title_key), col(ProductRow.product_id)), False),
}


def _position(product: Product, sort: ProductSort) -> Position:
    match sort:
        case ProductSort.ID:
            return (str(product.id),)
        case ProductSort.CHEAPEST | ProductSort.DEAREST:
            return (str(product.price), str(product.id))
        case ProductSort.TITLE:
            return (fold(product.title), str(product.id))


def _start(sort: ProductSort, after: Position) -> tuple[Decimal | str | int, ...]:
    *keys, tie = (part or "" for part in after)
    if sort in {ProductSort.CHEAPEST, ProductSort.DEAREST}:
        return (*(Decimal(key) for key in keys), int(tie))
    return (*keys, int(tie))
