"""The read port on the in-memory storage; it sees committed rows alone."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from typing_extensions import override

from app.domain.access import ApiKey, ApiKeyId, CustomerPrincipal, SessionCheck, session_ended
from app.domain.customer import Customer, CustomerId, CustomerQuery, CustomerSort
from app.domain.favorite import (
    ChangePosition,
    Changes,
    Favorite,
    FavoriteItem,
    FavoriteQuery,
    ListVersion,
    RemovedFavorite,
)
from app.domain.outcome import CustomerNotFound
from app.domain.page import Page
from app.domain.product import (
    CachedProduct,
    CatalogState,
    PopularProduct,
    PricePoint,
    ProductId,
    ProductQuery,
    ProductSort,
    UnknownProduct,
)
from app.domain.queries import (
    CatalogPage,
    CustomerRecords,
    FavoritesContained,
    FavoritesPage,
    FoundFavorite,
    ProfileRead,
    Queries,
)
from app.domain.session import Session, SessionId
from tests.double.favorite_writes import session_is_valid
from tests.double.filters import (
    DESCENDING,
    customer_matches,
    customer_position,
    item_matches,
    item_position,
    product_matches,
    product_position,
)
from tests.double.storage import InMemoryStorage
from tests.double.storage_history import changed_states, content_version, history_of
from tests.double.storage_table import ListState, Tables, page_of


class InMemoryQueries(Queries):
    """With a `replica`, queries that may lag behind read that storage."""

    def __init__(
        self, storage: InMemoryStorage, *, replica: InMemoryStorage | None = None
    ) -> None:
        self._storage = storage
        self._replica = storage if replica is None else replica
        self._seen: dict[ProductId, CachedProduct] = {}

    @property
    def _tables(self) -> Tables:
        return self._storage.tables

    @override
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        session = self._tables.sessions.get(session_id)
        if session is None or not session.active(now):
            return None
        customer = self._tables.customers[session.customer_id]
        return CustomerPrincipal(
            customer_id=customer.id, session_id=session.id, role=customer.role
        )

    @override
    async def find_api_key(self, key_id: ApiKeyId) -> ApiKey | None:
        return self._tables.api_keys.get(key_id)

    @override
    async def list_api_keys(self) -> Sequence[ApiKey]:
        return sorted(self._tables.api_keys.values(), key=lambda key: (key.created_at, key.id))

    @override
    async def find_customer(self, customer_id: CustomerId) -> Customer | None:
        return self._tables.customers.get(customer_id)

    @override
    async def list_customers(self, query: CustomerQuery) -> Page[Customer]:
        customers = self._replica.tables.customers.values()
        return page_of(
            (customer for customer in customers if customer_matches(customer, query)),
            by=lambda customer: customer_position(customer, query.sort),
            descending=query.sort is CustomerSort.NEWEST,
            limit=query.limit,
            after=query.after,
        )

    @override
    async def list_sessions(self, customer_id: CustomerId, *, now: datetime) -> Sequence[Session]:
        if customer_id not in self._tables.customers:
            raise CustomerNotFound
        return [session for session in self._sessions(customer_id) if session.active(now)]

    def _sessions(self, customer_id: CustomerId) -> Sequence[Session]:
        sessions = self._tables.sessions.values()
        return sorted(
            (session for session in sessions if session.customer_id == customer_id),
            key=lambda session: (session.last_used_at, session.id),
            reverse=True,
        )

    @override
    async def find_records(self, customer_id: CustomerId) -> CustomerRecords | None:
        customer = self._tables.customers.get(customer_id)
        if customer is None:
            return None
        removed = [
            RemovedFavorite(product_id=product_id, removed_at=tombstone.removed_at)
            for (owner, product_id), tombstone in self._tables.tombstones.items()
            if owner == customer_id
        ]
        return CustomerRecords(
            customer=customer,
            sessions=self._sessions(customer_id),
            favorites=sorted(
                self._items(customer_id),
                key=lambda item: (item.favorite.favorited_at, item.favorite.product_id),
                reverse=True,
            ),
            removed_favorites=sorted(
                removed, key=lambda each: (each.removed_at, each.product_id), reverse=True
            ),
        )

    @override
    async def list_version(
        self, customer_id: CustomerId, *, session: SessionCheck | None = None
    ) -> ListVersion:
        self._require(customer_id, session)
        return self._version(customer_id)

    def _require(self, customer_id: CustomerId, session: SessionCheck | None) -> None:
        if not session_is_valid(self._tables, customer_id, session):
            raise session_ended()
        if customer_id not in self._tables.customers:
            raise CustomerNotFound

    def _version(self, customer_id: CustomerId) -> ListVersion:
        return ListVersion(
            favorites=self._tables.lists.get(customer_id, ListState()).version,
            catalog=content_version(self._tables),
        )

    @override
    async def list_favorites(
        self, query: FavoriteQuery, *, session: SessionCheck | None = None
    ) -> FavoritesPage:
        self._require(query.customer_id, session)
        page = page_of(
            (item for item in self._items(query.customer_id) if item_matches(item, query)),
            by=lambda item: item_position(item, query.sort),
            descending=query.sort in DESCENDING,
            limit=query.limit,
            after=query.after,
        )
        return FavoritesPage(self._version(query.customer_id), page)

    def _items(self, customer_id: CustomerId) -> Iterable[FavoriteItem]:
        favorites = self._tables.favorites.items()
        return [self._item(row.favorite) for (owner, _), row in favorites if owner == customer_id]

    def _item(self, favorite: Favorite) -> FavoriteItem:
        known = self._product(favorite.product_id)
        return FavoriteItem(
            favorite=favorite, cached=known if isinstance(known, CachedProduct) else None
        )

    @override
    async def find_favorite(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        session: SessionCheck | None = None,
    ) -> FoundFavorite:
        if not session_is_valid(self._tables, customer_id, session):
            raise session_ended()
        row = self._tables.favorites.get((customer_id, product_id))
        return FoundFavorite(
            self._version(customer_id),
            None if row is None else self._item(row.favorite),
            self._product(product_id),
        )

    @override
    async def contains(
        self,
        customer_id: CustomerId,
        product_ids: Collection[ProductId],
        *,
        session: SessionCheck | None = None,
    ) -> FavoritesContained:
        self._require(customer_id, session)
        favorites = self._tables.favorites
        return FavoritesContained(
            self._version(customer_id),
            frozenset(id_ for id_ in product_ids if (customer_id, id_) in favorites),
        )

    @override
    async def list_changes(
        self,
        customer_id: CustomerId,
        *,
        since: ChangePosition,
        limit: int,
        session: SessionCheck | None = None,
    ) -> Changes:
        self._require(customer_id, session)
        history = history_of(self._tables, customer_id, since)
        items: dict[ProductId, FavoriteItem | None] = {e.product_id: None for e in history.events}
        items |= {item.favorite.product_id: item for item in self._items(customer_id)}
        return replace(
            history.changes(since, limit, items),
            behind=bool(changed_states(self._tables, customer_id)),
        )

    @override
    async def find_profile(
        self, customer_id: CustomerId, *, limit: int, session: SessionCheck | None = None
    ) -> ProfileRead:
        query = FavoriteQuery(customer_id=customer_id, limit=limit)
        version, page = await self.list_favorites(query, session=session)
        return ProfileRead(self._tables.customers[customer_id], version, page)

    @override
    async def find_product(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        return self._product(product_id)

    def _product(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        product = self._tables.products.get(product_id)
        if isinstance(product, CachedProduct):
            self._seen[product_id] = product
        return product

    @override
    def last_seen_product(self, product_id: ProductId) -> CachedProduct | None:
        return self._seen.get(product_id)

    @override
    async def find_products(
        self, product_ids: Collection[ProductId]
    ) -> Mapping[ProductId, CachedProduct | UnknownProduct]:
        found = {product_id: self._product(product_id) for product_id in product_ids}
        return {id_: product for id_, product in found.items() if product is not None}

    @override
    async def list_products(self, query: ProductQuery, *, current: bool = False) -> CatalogPage:
        tables = self._tables if current else self._replica.tables
        page = page_of(
            (each for each in _listed(tables) if product_matches(each.product, query)),
            by=lambda cached: product_position(cached.product, query.sort),
            descending=query.sort is ProductSort.DEAREST,
            limit=query.limit,
            after=query.after,
        )
        return CatalogPage(next(iter(tables.catalog.values()), CatalogState()), page)

    @override
    async def list_popular(self, *, at_least: int, limit: int) -> Sequence[PopularProduct]:
        tables = self._replica.tables
        counts = Counter(product_id for _, product_id in tables.favorites)
        popular = [
            PopularProduct(cached=cached, favorites=counts[cached.product.id])
            for cached in _listed(tables)
            if counts[cached.product.id] >= at_least
        ]
        popular.sort(key=lambda each: (each.favorites, each.cached.product.id), reverse=True)
        return popular[:limit]

    @override
    async def list_prices(self, product_id: ProductId) -> Sequence[PricePoint] | None:
        prices = self._replica.tables.prices.get(product_id)
        return None if prices is None else list(prices)

    @override
    async def list_favorited(self, *, fetched_before: datetime, limit: int) -> Sequence[ProductId]:
        favorited = {product_id for _, product_id in self._tables.favorites}
        due = [
            (cached.fetched_at, cached.product.id)
            for cached in _listed(self._tables)
            if cached.product.id in favorited and cached.fetched_at < fetched_before
        ]
        return [product_id for _, product_id in sorted(due)[:limit]]


def _listed(tables: Tables) -> Sequence[CachedProduct]:
    return [
        row
        for row in tables.products.values()
        if isinstance(row, CachedProduct) and not row.removed
    ]
