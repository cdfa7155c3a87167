from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from typing_extensions import override

from app.domain.customer import fold
from app.domain.product import (
    CachedProduct,
    CatalogState,
    Product,
    ProductId,
    UnknownProduct,
)
from app.domain.repository import ProductRepository
from app.infra.postgres.repository import product_sql
from app.infra.postgres.rows import read_catalog_state, read_product
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresProductRepository(ProductRepository):
    """Locks several products in the order of their ids."""

    _transaction: Transaction

    @override
    async def get(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        rows = await self._transaction.sql(product_sql.GET, product_id=product_id)
        return read_product(*rows[0]) if rows else None

    @override
    async def acquire_lease(
        self, product_ids: Collection[ProductId], *, now: datetime, until: datetime
    ) -> frozenset[ProductId]:
        acquired = await self._transaction.sql(
            product_sql.ACQUIRE_LEASE, product_ids=_sorted(product_ids), now=now, until=until
        )
        return frozenset(ProductId(product_id) for (product_id,) in acquired)

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
        rows = await self._transaction.sql(product_sql.GET_CATALOG)
        return read_catalog_state(*rows[0]) if rows else CatalogState()

    @override
    async def acquire_catalog_lease(self, *, now: datetime, until: datetime) -> bool:
        return bool(
            await self._transaction.sql(product_sql.ACQUIRE_CATALOG_LEASE, now=now, until=until)
        )

    @override
    async def block_catalog(self, *, until: datetime) -> None:
        await self._transaction.sql(product_sql.BLOCK_CATALOG, until=until)

    @override
    async def purge_unknown(self, *, now: datetime) -> int:
        return len(await self._transaction.sql(product_sql.PURGE_UNKNOWN, now=now))


def _sorted(product_ids: Collection[ProductId]) -> list[ProductId]:
    return sorted(set(product_ids))
