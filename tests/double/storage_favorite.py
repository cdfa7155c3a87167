from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from typing_extensions import override

from app.domain.customer import CustomerId, fold
from app.domain.favorite import Favorite, FavoriteItem, FavoriteQuery, FavoriteSort, Snapshot
from app.domain.outcome import CustomerNotFound
from app.domain.page import Page, Position
from app.domain.product import CachedProduct, ProductId
from app.domain.repository import FavoriteRepository
from tests.double.storage_table import Transaction, page_of, sortable

_DESCENDING = {FavoriteSort.NEWEST, FavoriteSort.DEAREST}


@dataclass(frozen=True, slots=True)
class InMemoryFavoriteRepository(FavoriteRepository):
    _transaction: Transaction

    @override
    async def put(self, favorite: Favorite) -> bool:
        await self._transaction.lock("customer", favorite.customer_id)
        if favorite.customer_id not in self._transaction.tables.customers:
            raise CustomerNotFound("There is no such customer")
        key = (favorite.customer_id, favorite.product_id)
        if await self._lock(*key) is not None:
            return False
        self._transaction.tables.favorites[key] = favorite
        return True

    @override
    async def get(self, customer_id: CustomerId, product_id: ProductId) -> FavoriteItem | None:
        favorite = self._transaction.tables.favorites.get((customer_id, product_id))
        return None if favorite is None else self._item(favorite)

    @override
    async def list_page(self, query: FavoriteQuery) -> Page[FavoriteItem]:
        return page_of(
            (i for i in await self.list_all(query.customer_id) if _matches(i, query)),
            by=lambda item: _position(item, query.sort),
            descending=query.sort in _DESCENDING,
            limit=query.limit,
            after=query.after,
        )

    @override
    async def list_all(self, customer_id: CustomerId) -> Sequence[FavoriteItem]:
        favorites = self._transaction.tables.favorites.values()
        return sorted(
            (self._item(f) for f in favorites if f.customer_id == customer_id),
            key=lambda item: (item.favorite.favorited_at, item.favorite.product_id),
            reverse=True,
        )

    @override
    async def contains(
        self, customer_id: CustomerId, product_ids: Collection[ProductId]
    ) -> frozenset[ProductId]:
        favorites = self._transaction.tables.favorites
        return frozenset(p for p in product_ids if (customer_id, p) in favorites)

    @override
    async def remove(self, customer_id: CustomerId, product_id: ProductId) -> bool:
        if await self._lock(customer_id, product_id) is None:
            return False
        del self._transaction.tables.favorites[customer_id, product_id]
        return True

    @override
    async def remove_rejected(self, customer_id: CustomerId, product_id: ProductId) -> bool:
        favorite = await self._lock(customer_id, product_id)
        if favorite is None or favorite.rejected_at is None:
            return False
        return await self.remove(customer_id, product_id)

    @override
    async def count_pending(self, customer_id: CustomerId) -> int:
        await self._transaction.lock("customer", customer_id)
        favorites = self._transaction.tables.favorites.values()
        return sum(1 for f in favorites if f.customer_id == customer_id and _pending(f))

    @override
    async def confirm(self, product_id: ProductId, snapshot: Snapshot) -> int:
        return await self._settle(product_id, when_favorited=snapshot, rejected_at=None)

    @override
    async def reject(self, product_id: ProductId, *, now: datetime) -> int:
        return await self._settle(product_id, when_favorited=None, rejected_at=now)

    async def _settle(
        self,
        product_id: ProductId,
        *,
        when_favorited: Snapshot | None,
        rejected_at: datetime | None,
    ) -> int:
        settled = 0
        for customer_id, favorited in sorted(self._transaction.tables.favorites):
            if favorited != product_id:
                continue
            favorite = await self._lock(customer_id, product_id)
            if favorite is not None and _pending(favorite):
                self._transaction.tables.favorites[customer_id, product_id] = replace(
                    favorite, when_favorited=when_favorited, rejected_at=rejected_at
                )
                settled += 1
        return settled

    async def _lock(self, customer_id: CustomerId, product_id: ProductId) -> Favorite | None:
        await self._transaction.lock("favorite", customer_id, product_id)
        return self._transaction.tables.favorites.get((customer_id, product_id))

    def _item(self, favorite: Favorite) -> FavoriteItem:
        known = self._transaction.tables.products.get(favorite.product_id)
        return FavoriteItem(
            favorite=favorite, cached=known if isinstance(known, CachedProduct) else None
        )


def _pending(favorite: Favorite) -> bool:
    return favorite.when_favorited is None and favorite.rejected_at is None


def _matches(item: FavoriteItem, query: FavoriteQuery) -> bool:
    if query.category is None and query.q is None:
        return True
    if item.cached is None:
        return False
    product = item.cached.product
    return (query.category is None or product.category == query.category) and (
        query.q is None or fold(query.q) in fold(product.title)
    )


def _position(item: FavoriteItem, sort: FavoriteSort) -> Position:
    tie = sortable(item.favorite.product_id)
    if sort in {FavoriteSort.NEWEST, FavoriteSort.OLDEST}:
        return (sortable(item.favorite.favorited_at), tie)
    known = item.cached is not None
    # Whichever way the list runs, what is not known comes last.
    rank = sortable(known == (sort in _DESCENDING))
    if item.cached is None:
        return (rank, None, tie)
    product = item.cached.product
    by = fold(product.title) if sort is FavoriteSort.TITLE else sortable(product.price)
    return (rank, by, tie)
