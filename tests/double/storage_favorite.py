from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from typing_extensions import override

from app.domain.customer import CustomerId, fold
from app.domain.favorite import (
    ChangePosition,
    Changes,
    Favorite,
    FavoriteItem,
    FavoriteQuery,
    FavoriteSort,
    ListVersion,
    RemovedFavorite,
    Snapshot,
)
from app.domain.outcome import CustomerNotFound, FavoritesFull
from app.domain.page import Page, Position
from app.domain.product import CachedProduct, ProductId
from app.domain.repository import FavoriteRepository
from tests.double.storage_history import changed_states, content_version, history_of
from tests.double.storage_table import (
    Listed,
    ListState,
    Tombstone,
    Transaction,
    page_of,
    sortable,
)

_DESCENDING = {FavoriteSort.NEWEST, FavoriteSort.DEAREST}


@dataclass(frozen=True, slots=True)
class InMemoryFavoriteRepository(FavoriteRepository):
    _transaction: Transaction

    @override
    async def put(self, favorite: Favorite, *, at_most: int) -> bool:
        customer_id, tables = favorite.customer_id, self._transaction.tables
        if not await self._lock(customer_id):
            raise CustomerNotFound("There is no such customer")
        key = (customer_id, favorite.product_id)
        present = tables.favorites.get(key)
        if present is not None and present.favorite.rejected_at is None:
            return False
        if present is None:
            self._refuse_full(customer_id, at_most)
        tables.tombstones.pop(key, None)
        self._add(favorite)
        return True

    @override
    async def get(self, customer_id: CustomerId, product_id: ProductId) -> FavoriteItem | None:
        listed = self._transaction.tables.favorites.get((customer_id, product_id))
        return None if listed is None else self._item(listed.favorite)

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
        favorites = self._transaction.tables.favorites.items()
        return sorted(
            (self._item(f.favorite) for key, f in favorites if key[0] == customer_id),
            key=lambda item: (item.favorite.favorited_at, item.favorite.product_id),
            reverse=True,
        )

    @override
    async def list_removed(self, customer_id: CustomerId) -> Sequence[RemovedFavorite]:
        removed = [
            RemovedFavorite(product_id=product_id, removed_at=tombstone.removed_at)
            for (owner, product_id), tombstone in self._transaction.tables.tombstones.items()
            if owner == customer_id
        ]
        return sorted(removed, key=lambda each: (each.removed_at, each.product_id), reverse=True)

    @override
    async def contains(
        self, customer_id: CustomerId, product_ids: Collection[ProductId]
    ) -> frozenset[ProductId]:
        favorites = self._transaction.tables.favorites
        return frozenset(p for p in product_ids if (customer_id, p) in favorites)

    @override
    async def remove(
        self, customer_id: CustomerId, product_id: ProductId, *, now: datetime
    ) -> bool:
        tables, key = self._transaction.tables, (customer_id, product_id)
        if not await self._lock(customer_id) or key not in tables.favorites:
            return False
        removed = tables.favorites.pop(key).favorite
        tables.tombstones[key] = Tombstone(
            changed_in=self._next_version(customer_id), removed_at=now, favorite=removed
        )
        return True

    @override
    async def restore(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        removed_since: datetime,
        at_most: int,
    ) -> bool:
        tables, key = self._transaction.tables, (customer_id, product_id)
        if not await self._lock(customer_id):
            return False
        tombstone = tables.tombstones.get(key)
        if tombstone is None or tombstone.favorite is None:
            return False
        if tombstone.removed_at < removed_since:
            return False
        self._refuse_full(customer_id, at_most)
        del tables.tombstones[key]
        self._add(tombstone.favorite)
        return True

    @override
    async def version(self, customer_id: CustomerId) -> ListVersion:
        tables = self._transaction.tables
        return ListVersion(
            favorites=tables.lists.get(customer_id, ListState()).version,
            catalog=content_version(tables),
        )

    @override
    async def list_changes(
        self, customer_id: CustomerId, *, since: ChangePosition, limit: int
    ) -> Changes:
        if changed_states(self._transaction.tables, customer_id):
            await self._note_states(customer_id)
        history = history_of(self._transaction.tables, customer_id, since)
        page = history.events[:limit]
        items = {event.product_id: await self.get(customer_id, event.product_id) for event in page}
        return history.changes(since, limit, items)

    async def _note_states(self, customer_id: CustomerId) -> None:
        await self._lock(customer_id)
        tables = self._transaction.tables
        if not (concerned := changed_states(tables, customer_id)):
            return
        version = self._next_version(customer_id)
        tables.lists[customer_id] = replace(
            tables.lists[customer_id], catalog_seen=content_version(tables)
        )
        for product_id in concerned:
            key = (customer_id, product_id)
            tables.favorites[key] = replace(tables.favorites[key], changed_in=version)

    @override
    async def forget_removed(self, *, restorable_since: datetime, since: datetime) -> int:
        tables, changed = self._transaction.tables, 0
        for key, tombstone in sorted(tables.tombstones.items(), key=lambda row: row[0]):
            if tombstone.removed_at >= restorable_since:
                continue
            await self._lock(key[0])
            if tombstone.favorite is not None:
                tables.tombstones[key] = replace(tombstone, favorite=None)
                changed += 1
            if tombstone.removed_at < since:
                del tables.tombstones[key]
                state = tables.lists[key[0]]
                tables.lists[key[0]] = replace(
                    state, forgotten_to=max(state.forgotten_to, tombstone.changed_in)
                )
                changed += 1
        return changed

    @override
    async def count(self, customer_id: CustomerId) -> int:
        return sum(1 for key in self._transaction.tables.favorites if key[0] == customer_id)

    @override
    async def count_pending(self, customer_id: CustomerId) -> int:
        await self._transaction.lock("customer", customer_id)
        favorites = self._transaction.tables.favorites.items()
        return sum(1 for key, f in favorites if key[0] == customer_id and f.favorite.pending)

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
        tables, settled = self._transaction.tables, 0
        for key in sorted(key for key in tables.favorites if key[1] == product_id):
            await self._lock(key[0])
            listed = tables.favorites.get(key)
            if listed is not None and listed.favorite.pending:
                tables.favorites[key] = replace(
                    listed,
                    favorite=replace(
                        listed.favorite, when_favorited=when_favorited, rejected_at=rejected_at
                    ),
                    changed_in=self._next_version(key[0]),
                )
                settled += 1
        return settled

    async def _lock(self, customer_id: CustomerId) -> bool:
        """Lock the customer's list; tell whether there is such a customer."""
        await self._transaction.lock("customer", customer_id)
        await self._transaction.lock("list", customer_id)
        tables = self._transaction.tables
        if customer_id not in tables.customers:
            return False
        if customer_id not in tables.lists:
            tables.lists[customer_id] = ListState(catalog_seen=content_version(tables))
        return True

    def _next_version(self, customer_id: CustomerId) -> int:
        lists = self._transaction.tables.lists
        version = lists[customer_id].version + 1
        lists[customer_id] = replace(lists[customer_id], version=version)
        return version

    def _refuse_full(self, customer_id: CustomerId, at_most: int) -> None:
        favorites = self._transaction.tables.favorites
        if sum(1 for owner, _ in favorites if owner == customer_id) >= at_most:
            raise FavoritesFull("The list of favorites is full")

    def _add(self, favorite: Favorite) -> None:
        version = self._next_version(favorite.customer_id)
        self._transaction.tables.favorites[favorite.customer_id, favorite.product_id] = Listed(
            favorite=favorite, added_in=version, changed_in=version
        )

    def _item(self, favorite: Favorite) -> FavoriteItem:
        known = self._transaction.tables.products.get(favorite.product_id)
        return FavoriteItem(
            favorite=favorite, cached=known if isinstance(known, CachedProduct) else None
        )


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
