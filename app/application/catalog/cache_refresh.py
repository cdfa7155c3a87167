"""
The two refreshes of the products cache: of one product, and of the whole catalog.

Each knows its rows in storage: where its result is kept, and where its lease is.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from typing_extensions import override

from app.application.catalog.hot_products import HotProducts
from app.application.ports import ProductCatalog
from app.domain.product import (
    CachedProduct,
    CachePolicy,
    Freshness,
    Product,
    ProductId,
    RefreshState,
    UnknownProduct,
)
from app.domain.repository import ProductRepository

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState(Generic[T]):
    """What storage holds: a result if it is good enough, and the state of the lease."""

    result: T | None
    refresh: RefreshState


class CacheRefresh(ABC, Generic[R, T]):
    """A refresh; the catalog responds with an R, from which storage makes the result, a T."""

    whole: bool

    @property
    @abstractmethod
    def key(self) -> str:
        """The same for refreshes that one response satisfies."""

    @abstractmethod
    async def look_up(self, products: ProductRepository, *, now: datetime) -> CacheState[T]:
        """Return the state in storage; with a result if no refresh is needed."""

    @abstractmethod
    async def acquire_lease(
        self, products: ProductRepository, *, now: datetime, until: datetime
    ) -> bool:
        """Take the lease; tell whether it was free."""

    @abstractmethod
    async def fetch(self, catalog: ProductCatalog) -> R:
        """
        Call the catalog.

        :raises CatalogUnavailable: if it does not respond
        """

    @abstractmethod
    async def store(self, products: ProductRepository, response: R, *, asked_at: datetime) -> T:
        """Store the response, release the lease, and return the result as stored now."""

    @abstractmethod
    async def update_hot_tier(self, hot: HotProducts, response: R, result: T) -> None:
        """Pass a result that has been stored on to the hot tier."""

    @abstractmethod
    def without_storage(self, response: R, *, asked_at: datetime) -> T | None:
        """Return the result of a response that could not be stored; None if there is none."""

    @abstractmethod
    async def block(self, products: ProductRepository, *, until: datetime) -> None:
        """Release the lease after a failure; it is not free again before `until`."""


ProductResult: TypeAlias = CachedProduct | UnknownProduct


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRefresh(CacheRefresh["Product | None", ProductResult]):
    """The refresh of one product."""

    whole = False

    id: ProductId
    policy: CachePolicy

    @property
    @override
    def key(self) -> str:
        return f"product {self.id}"

    @override
    async def look_up(
        self, products: ProductRepository, *, now: datetime
    ) -> CacheState[ProductResult]:
        row = await products.get(self.id)
        match row:
            case None:
                return CacheState(result=None, refresh=RefreshState())
            case CachedProduct():
                good = row.removed or row.freshness(self.policy, now=now) is Freshness.FRESH
            case UnknownProduct():
                good = row.absent(now)
        return CacheState(result=row if good else None, refresh=row.refresh)

    @override
    async def acquire_lease(
        self, products: ProductRepository, *, now: datetime, until: datetime
    ) -> bool:
        return bool(await products.acquire_lease([self.id], now=now, until=until))

    @override
    async def fetch(self, catalog: ProductCatalog) -> Product | None:
        return await catalog.find(self.id)

    @override
    async def store(
        self, products: ProductRepository, response: Product | None, *, asked_at: datetime
    ) -> ProductResult:
        if response is None:
            await products.note_absence(
                self.id, asked_at=asked_at, until=asked_at + self.policy.negative_ttl
            )
        else:
            await products.store([response], asked_at=asked_at)
        row = await products.get(self.id)
        if (
            response is None
            and isinstance(row, CachedProduct)
            and row.missing_since
            and not row.removed
        ):
            # An odd "no" about a known product: a second opinion is worth more a little later.
            await products.block([self.id], until=asked_at + self.policy.backoff)
        return row or self.without_storage(response, asked_at=asked_at)

    @override
    async def update_hot_tier(
        self, hot: HotProducts, response: Product | None, result: ProductResult
    ) -> None:
        match result:
            case CachedProduct(removed_at=datetime() as removed_at):
                await hot.outdate([self.id], before=removed_at)
            case CachedProduct():
                await hot.keep(result, until=result.fresh_until(self.policy))
            case UnknownProduct():
                pass

    @override
    def without_storage(self, response: Product | None, *, asked_at: datetime) -> ProductResult:
        if response is None:
            return UnknownProduct(id=self.id, absent_until=asked_at + self.policy.negative_ttl)
        return CachedProduct(product=response, fetched_at=asked_at)

    @override
    async def block(self, products: ProductRepository, *, until: datetime) -> None:
        await products.block([self.id], until=until)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogResult:
    """The whole catalog was fetched at `fetched_at`; these products are removed by that."""

    fetched_at: datetime
    removed: frozenset[ProductId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRefresh(CacheRefresh[Sequence[Product], CatalogResult]):
    """
    The refresh of the whole catalog.

    A list that was fetched before `since` is not a result. `due` are the products that made the
    refresh necessary: their leases are taken too, so that they are not fetched one by one.
    """

    whole = True

    since: datetime
    policy: CachePolicy
    due: frozenset[ProductId] = frozenset()

    @property
    @override
    def key(self) -> str:
        return "catalog"

    @override
    async def look_up(
        self, products: ProductRepository, *, now: datetime
    ) -> CacheState[CatalogResult]:
        state = await products.catalog_state()
        if state.fetched_at is None or state.fetched_at < self.since:
            return CacheState(result=None, refresh=state.refresh)
        return CacheState(result=CatalogResult(fetched_at=state.fetched_at), refresh=state.refresh)

    @override
    async def acquire_lease(
        self, products: ProductRepository, *, now: datetime, until: datetime
    ) -> bool:
        if not await products.acquire_catalog_lease(now=now, until=until):
            return False
        if self.due:
            await products.acquire_lease(self.due, now=now, until=until)
        return True

    @override
    async def fetch(self, catalog: ProductCatalog) -> Sequence[Product]:
        return await catalog.list_all()

    @override
    async def store(
        self, products: ProductRepository, response: Sequence[Product], *, asked_at: datetime
    ) -> CatalogResult:
        listed = frozenset(product.id for product in response)
        await products.store(response, asked_at=asked_at)
        removed = await products.note_complete_list(listed, asked_at=asked_at)
        if left_out := self.due - listed:
            await products.block(left_out, until=asked_at + self.policy.backoff)
        return CatalogResult(fetched_at=asked_at, removed=removed)

    @override
    async def update_hot_tier(
        self, hot: HotProducts, response: Sequence[Product], result: CatalogResult
    ) -> None:
        # Not the copies themselves: some of them may have been younger in storage already.
        known = {product.id for product in response}
        await hot.outdate(known | result.removed, before=result.fetched_at)

    @override
    def without_storage(self, response: Sequence[Product], *, asked_at: datetime) -> None:
        return None

    @override
    async def block(self, products: ProductRepository, *, until: datetime) -> None:
        await products.block_catalog(until=until)
        if self.due:
            await products.block(self.due, until=until)
