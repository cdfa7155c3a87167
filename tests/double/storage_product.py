from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from typing_extensions import override

from app.domain.product import (
    CachedProduct,
    CatalogState,
    PricePoint,
    Product,
    ProductId,
    RefreshState,
    UnknownProduct,
)
from app.domain.repository import ProductRepository
from tests.double.storage_history import CONTENT, content_version
from tests.double.storage_table import Transaction

_ONLY = "the only row"


@dataclass(frozen=True, slots=True)
class InMemoryProductRepository(ProductRepository):
    _transaction: Transaction

    @override
    async def get(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        return self._transaction.tables.products.get(product_id)

    @override
    async def acquire_lease(
        self, product_ids: Collection[ProductId], *, now: datetime, until: datetime
    ) -> frozenset[ProductId]:
        acquired = set()
        for product_id in sorted(set(product_ids)):
            row = await self._lock(product_id)
            if row.refresh.allowed(now):
                self._set(replace(row, refresh=replace(row.refresh, leased_until=until)))
                acquired.add(product_id)
        return frozenset(acquired)

    @override
    async def block(self, product_ids: Collection[ProductId], *, until: datetime) -> None:
        for product_id in sorted(set(product_ids)):
            row = await self._lock(product_id)
            self._set(replace(row, refresh=_blocked(row.refresh, until)))

    @override
    async def store(self, products: Collection[Product], *, asked_at: datetime) -> None:
        last = {product.id: product for product in products}
        await self._lock_catalog()
        version = content_version(self._transaction.tables) + 1
        for product_id, product in sorted(last.items()):
            before = await self._lock(product_id)
            if isinstance(before, CachedProduct) and before.fetched_at > asked_at:
                continue
            stored = CachedProduct(product=product, fetched_at=asked_at)
            if isinstance(before, CachedProduct) and _gone_since(before, asked_at):
                # A later request was answered that it is gone.
                stored = replace(
                    stored, missing_since=before.missing_since, removed_at=before.removed_at
                )
            self._set(stored)
            self._note_look(before, stored, version)
            self._note_price(product, seen_at=asked_at)

    def _note_look(
        self, before: CachedProduct | UnknownProduct, after: CachedProduct, version: int
    ) -> None:
        tables = self._transaction.tables
        if isinstance(before, CachedProduct):
            if (before.product, before.removed) == (after.product, after.removed):
                return
            if before.removed != after.removed:
                tables.states[after.product.id] = version
        tables.content[CONTENT] = version

    def _note_price(self, product: Product, *, seen_at: datetime) -> None:
        prices = self._transaction.tables.prices
        seen = prices.get(product.id, ())
        if not seen or seen[-1].price != product.price:
            prices[product.id] = (*seen, PricePoint(price=product.price, seen_at=seen_at))

    @override
    async def note_absence(
        self, product_id: ProductId, *, asked_at: datetime, until: datetime
    ) -> None:
        await self._lock_catalog()
        row = await self._lock(product_id)
        if isinstance(row, CachedProduct):
            if row.fetched_at <= asked_at:
                noted = replace(_absent(row, asked_at), refresh=RefreshState())
                self._set(noted)
                self._note_look(row, noted, content_version(self._transaction.tables) + 1)
            return
        until = max(row.absent_until or until, until)
        self._set(replace(row, absent_until=until, refresh=RefreshState()))

    @override
    async def note_complete_list(
        self, product_ids: Collection[ProductId], *, asked_at: datetime
    ) -> frozenset[ProductId]:
        removed = set()
        catalog = await self._lock_catalog()
        version = content_version(self._transaction.tables) + 1
        for product_id in sorted(c.product.id for c in self._known()):
            row = await self._lock(product_id)
            if not isinstance(row, CachedProduct) or row.removed or product_id in product_ids:
                continue
            if row.fetched_at <= asked_at:
                noted = _absent(row, asked_at)
                self._set(noted)
                self._note_look(row, noted, version)
                if noted.removed:
                    removed.add(product_id)
        fetched_at = max(catalog.fetched_at or asked_at, asked_at)
        self._transaction.tables.catalog[_ONLY] = CatalogState(fetched_at=fetched_at)
        return frozenset(removed)

    @override
    async def catalog_state(self) -> CatalogState:
        return self._transaction.tables.catalog.get(_ONLY, CatalogState())

    @override
    async def acquire_catalog_lease(self, *, now: datetime, until: datetime) -> bool:
        state = await self._lock_catalog()
        if not state.refresh.allowed(now):
            return False
        self._transaction.tables.catalog[_ONLY] = replace(
            state, refresh=replace(state.refresh, leased_until=until)
        )
        return True

    @override
    async def block_catalog(self, *, until: datetime) -> None:
        state = await self._lock_catalog()
        self._transaction.tables.catalog[_ONLY] = replace(
            state, refresh=_blocked(state.refresh, until)
        )

    @override
    async def purge_unknown(self, *, now: datetime) -> int:
        purged = 0
        for product_id in sorted(self._transaction.tables.products):
            row = await self._lock(product_id)
            if not isinstance(row, UnknownProduct) or row.absent(now):
                continue
            if row.refresh.allowed(now):
                del self._transaction.tables.products[product_id]
                purged += 1
        return purged

    def _known(self) -> Sequence[CachedProduct]:
        rows = self._transaction.tables.products.values()
        return [row for row in rows if isinstance(row, CachedProduct)]

    async def _lock(self, product_id: ProductId) -> CachedProduct | UnknownProduct:
        await self._transaction.lock("product", product_id)
        return self._transaction.tables.products.get(product_id) or UnknownProduct(id=product_id)

    async def _lock_catalog(self) -> CatalogState:
        await self._transaction.lock("catalog")
        return await self.catalog_state()

    def _set(self, row: CachedProduct | UnknownProduct) -> None:
        product_id = row.id if isinstance(row, UnknownProduct) else row.product.id
        self._transaction.tables.products[product_id] = row


def _blocked(refresh: RefreshState, until: datetime) -> RefreshState:
    return RefreshState(blocked_until=max(refresh.blocked_until or until, until))


def _gone_since(row: CachedProduct, asked_at: datetime) -> bool:
    gone_at = row.removed_at or row.missing_since
    return gone_at is not None and gone_at > asked_at


def _absent(row: CachedProduct, asked_at: datetime) -> CachedProduct:
    if row.removed:
        return row
    if row.missing_since is None:
        return replace(row, missing_since=asked_at)
    return replace(row, removed_at=asked_at) if row.missing_since < asked_at else row
