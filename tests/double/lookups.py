"""Lookups by units of work: what they are to say, at the price of a transaction each."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from typing_extensions import override

from app.domain.access import CustomerPrincipal
from app.domain.customer import CustomerId
from app.domain.favorite import FavoriteItem, FavoriteQuery, ListVersion
from app.domain.page import Page
from app.domain.product import CachedProduct, ProductId, UnknownProduct
from app.domain.repository import Lookups, UnitOfWorkFactory
from app.domain.session import SessionId


@dataclass(frozen=True, slots=True)
class UnitLookups(Lookups):
    uow: UnitOfWorkFactory

    @override
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        async with self.uow() as work:
            return await work.sessions.find_principal(session_id, now=now)

    @override
    async def find_reader(
        self, session_id: SessionId, *, now: datetime
    ) -> tuple[CustomerPrincipal, ListVersion] | None:
        async with self.uow() as work:
            principal = await work.sessions.find_principal(session_id, now=now)
            if principal is None:
                return None
            return principal, await work.favorites.version(principal.customer_id)

    @override
    async def find_product(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        async with self.uow() as work:
            return await work.products.get(product_id)

    @override
    async def find_favorite(
        self, customer_id: CustomerId, product_id: ProductId
    ) -> tuple[FavoriteItem | None, CachedProduct | UnknownProduct | None]:
        async with self.uow() as work:
            item = await work.favorites.get(customer_id, product_id)
            return item, await work.products.get(product_id)

    @override
    async def list_version(self, customer_id: CustomerId) -> ListVersion:
        async with self.uow() as work:
            return await work.favorites.version(customer_id)

    @override
    async def list_newest(
        self, customer_id: CustomerId, *, limit: int
    ) -> tuple[ListVersion, Page[FavoriteItem]]:
        async with self.uow() as work:
            query = FavoriteQuery(customer_id=customer_id, limit=limit)
            version = await work.favorites.version(customer_id)
            return version, await work.favorites.list_page(query)

    @override
    async def contains(
        self, customer_id: CustomerId, product_ids: Collection[ProductId]
    ) -> tuple[ListVersion, frozenset[ProductId]]:
        async with self.uow() as work:
            version = await work.favorites.version(customer_id)
            return version, await work.favorites.contains(customer_id, product_ids)
