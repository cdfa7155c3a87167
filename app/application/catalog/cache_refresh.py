"""
The two questions the catalog can be asked: for one product, and for everything.

Each knows its place in storage: where its answer is kept, and where the right to ask it.
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
class Known(Generic[T]):
    """What storage says: the answer if it holds a good one, and who may ask for a better one."""

    answer: T | None
    refresh: RefreshState


class Question(ABC, Generic[R, T]):
    """A question; the catalog replies with an R, out of which storage makes the answer, a T."""

    whole: bool

    @property
    @abstractmethod
    def key(self) -> str:
        """The same for questions that one reply answers."""

    @abstractmethod
    async def look(self, products: ProductRepository, *, now: datetime) -> Known[T]:
        """Return what storage says; an answer if there is no need to ask."""

    @abstractmethod
    async def claim(self, products: ProductRepository, *, now: datetime, until: datetime) -> bool:
        """Take the right to ask; tell whether it was free."""

    @abstractmethod
    async def ask(self, catalog: ProductCatalog) -> R:
        """
        Ask the catalog.

        :raises CatalogUnavailable: if it does not reply
        """

    @abstractmethod
    async def keep(self, products: ProductRepository, reply: R, *, asked_at: datetime) -> T:
        """Keep the reply, give the right back, and return the answer as storage has it now."""

    @abstractmethod
    async def spread(self, hot: HotProducts, reply: R, answer: T) -> None:
        """Let the hot tier know an answer that has been kept."""

    @abstractmethod
    def unkept(self, reply: R, *, asked_at: datetime) -> T | None:
        """Return the answer that a reply is without storage; None if it is none."""

    @abstractmethod
    async def block(self, products: ProductRepository, *, until: datetime) -> None:
        """Give the right back after a failure: nobody takes it before `until`."""


ProductAnswer: TypeAlias = CachedProduct | UnknownProduct


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductQuestion(Question["Product | None", ProductAnswer]):
    """How is this product?"""

    whole = False

    id: ProductId
    policy: CachePolicy

    @property
    @override
    def key(self) -> str:
        return f"product {self.id}"

    @override
    async def look(self, products: ProductRepository, *, now: datetime) -> Known[ProductAnswer]:
        row = await products.get(self.id)
        match row:
            case None:
                return Known(answer=None, refresh=RefreshState())
            case CachedProduct():
                good = row.removed or row.freshness(self.policy, now=now) is Freshness.FRESH
            case UnknownProduct():
                good = row.absent(now)
        return Known(answer=row if good else None, refresh=row.refresh)

    @override
    async def claim(self, products: ProductRepository, *, now: datetime, until: datetime) -> bool:
        return bool(await products.claim([self.id], now=now, until=until))

    @override
    async def ask(self, catalog: ProductCatalog) -> Product | None:
        return await catalog.find(self.id)

    @override
    async def keep(
        self, products: ProductRepository, reply: Product | None, *, asked_at: datetime
    ) -> ProductAnswer:
        if reply is None:
            await products.note_absence(
                self.id, asked_at=asked_at, until=asked_at + self.policy.negative_ttl
            )
        else:
            await products.store([reply], asked_at=asked_at)
        row = await products.get(self.id)
        if (
            reply is None
            and isinstance(row, CachedProduct)
            and row.missing_since
            and not row.removed
        ):
            # An odd "no" about a product we know: the second opinion is worth more a little later.
            await products.block([self.id], until=asked_at + self.policy.backoff)
        return row or self.unkept(reply, asked_at=asked_at)

    @override
    async def spread(self, hot: HotProducts, reply: Product | None, answer: ProductAnswer) -> None:
        match answer:
            case CachedProduct(removed_at=datetime() as removed_at):
                await hot.outdate([self.id], before=removed_at)
            case CachedProduct():
                await hot.keep(answer, until=answer.fresh_until(self.policy))
            case UnknownProduct():
                pass

    @override
    def unkept(self, reply: Product | None, *, asked_at: datetime) -> ProductAnswer:
        if reply is None:
            return UnknownProduct(id=self.id, absent_until=asked_at + self.policy.negative_ttl)
        return CachedProduct(product=reply, fetched_at=asked_at)

    @override
    async def block(self, products: ProductRepository, *, until: datetime) -> None:
        await products.block([self.id], until=until)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRefresh:
    """The whole catalog was asked for at `fetched_at`; these products are removed by that."""

    fetched_at: datetime
    removed: frozenset[ProductId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogQuestion(Question[Sequence[Product], CatalogRefresh]):
    """
    What is there?

    A list that was asked for before `since` is no answer. `about` are the products for whose sake
    the question is asked: their rows show that somebody asks, so that nobody else does.
    """

    whole = True

    since: datetime
    policy: CachePolicy
    about: frozenset[ProductId] = frozenset()

    @property
    @override
    def key(self) -> str:
        return "catalog"

    @override
    async def look(self, products: ProductRepository, *, now: datetime) -> Known[CatalogRefresh]:
        state = await products.catalog_state()
        if state.fetched_at is None or state.fetched_at < self.since:
            return Known(answer=None, refresh=state.refresh)
        return Known(answer=CatalogRefresh(fetched_at=state.fetched_at), refresh=state.refresh)

    @override
    async def claim(self, products: ProductRepository, *, now: datetime, until: datetime) -> bool:
        if not await products.claim_catalog(now=now, until=until):
            return False
        if self.about:
            await products.claim(self.about, now=now, until=until)
        return True

    @override
    async def ask(self, catalog: ProductCatalog) -> Sequence[Product]:
        return await catalog.list_all()

    @override
    async def keep(
        self, products: ProductRepository, reply: Sequence[Product], *, asked_at: datetime
    ) -> CatalogRefresh:
        listed = frozenset(product.id for product in reply)
        await products.store(reply, asked_at=asked_at)
        removed = await products.note_complete_list(listed, asked_at=asked_at)
        if left_out := self.about - listed:
            await products.block(left_out, until=asked_at + self.policy.backoff)
        return CatalogRefresh(fetched_at=asked_at, removed=removed)

    @override
    async def spread(
        self, hot: HotProducts, reply: Sequence[Product], answer: CatalogRefresh
    ) -> None:
        # Not the copies themselves: some of them may have been younger in storage already.
        known = {product.id for product in reply}
        await hot.outdate(known | answer.removed, before=answer.fetched_at)

    @override
    def unkept(self, reply: Sequence[Product], *, asked_at: datetime) -> None:
        return None

    @override
    async def block(self, products: ProductRepository, *, until: datetime) -> None:
        await products.block_catalog(until=until)
        if self.about:
            await products.block(self.about, until=until)
