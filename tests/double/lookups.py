"""Lookups by units of work: what they are to say, at the price of a transaction each."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from typing_extensions import override

from app.domain.access import CustomerPrincipal, SessionClaim, session_ended
from app.domain.customer import CustomerId
from app.domain.favorite import FavoriteItem, FavoriteQuery, ListVersion
from app.domain.page import Page
from app.domain.product import CachedProduct, ProductId, UnknownProduct
from app.domain.repository import Lookups, UnitOfWork, UnitOfWorkFactory
from app.domain.session import SessionId


@dataclass(frozen=True, slots=True)
class UnitLookups(Lookups):
    uow: UnitOfWorkFactory
    _seen: dict[ProductId, CachedProduct] = field(default_factory=dict)

    @override
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        async with self.uow() as work:
            return await work.sessions.find_principal(session_id, now=now)

    @override
    async def find_product(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        async with self.uow() as work:
            return self._see(await work.products.get(product_id))

    @override
    def recall_product(self, product_id: ProductId) -> CachedProduct | None:
        return self._seen.get(product_id)

    def _see(
        self, product: CachedProduct | UnknownProduct | None
    ) -> CachedProduct | UnknownProduct | None:
        if isinstance(product, CachedProduct):
            self._seen[product.product.id] = product
        return product

    @override
    async def find_favorite(
        self, customer_id: CustomerId, product_id: ProductId, *, claim: SessionClaim | None = None
    ) -> tuple[FavoriteItem | None, CachedProduct | UnknownProduct | None]:
        async with self.uow() as work:
            await _check(work, customer_id, claim)
            item = await work.favorites.get(customer_id, product_id)
            return item, self._see(await work.products.get(product_id))

    @override
    async def list_version(
        self, customer_id: CustomerId, *, claim: SessionClaim | None = None
    ) -> ListVersion:
        async with self.uow() as work:
            await _check(work, customer_id, claim)
            return await work.favorites.version(customer_id)

    @override
    async def list_newest(
        self, customer_id: CustomerId, *, limit: int, claim: SessionClaim | None = None
    ) -> tuple[ListVersion, Page[FavoriteItem]]:
        async with self.uow() as work:
            await _check(work, customer_id, claim)
            query = FavoriteQuery(customer_id=customer_id, limit=limit)
            version = await work.favorites.version(customer_id)
            return version, await work.favorites.list_page(query)

    @override
    async def contains(
        self,
        customer_id: CustomerId,
        product_ids: Collection[ProductId],
        *,
        claim: SessionClaim | None = None,
    ) -> tuple[ListVersion, frozenset[ProductId]]:
        async with self.uow() as work:
            await _check(work, customer_id, claim)
            version = await work.favorites.version(customer_id)
            return version, await work.favorites.contains(customer_id, product_ids)


async def holds(work: UnitOfWork, customer_id: CustomerId, claim: SessionClaim | None) -> bool:
    """Tell whether nothing is claimed but what is true."""
    if claim is None:
        return True
    principal = await work.sessions.find_principal(claim.session_id, now=claim.at)
    return principal is not None and principal.customer_id == customer_id


async def _check(work: UnitOfWork, customer_id: CustomerId, claim: SessionClaim | None) -> None:
    if not await holds(work, customer_id, claim):
        raise session_ended()
