"""
The catalog through its cache: stale-while-revalidate, stale-if-error (RFC 5861).

    age      | reading one product                               | reading lists
    ---------+---------------------------------------------------+-----------------------------
    fresh    | the copy                                          | the copies
    stale    | the copy at once, one refresh in the background   | likewise
    expired  | ask; if that fails, or just has, the copy, stale  | the copies, refresh (*)
    absent   | ask; "no such product" is an answer, "not now" is | (none)
             | another

(*) The list of the catalog itself asks first, as one product does; favorites never wait.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any, TypeVar

from app.application.catalog.cache_observer import CacheObserver, NullCacheObserver
from app.application.catalog.cache_refresh import (
    CatalogQuestion,
    CatalogRefresh,
    ProductQuestion,
    Question,
)
from app.application.catalog.cache_refresher import Answer, LeasedCalls, Sleep, unavailable_until
from app.application.catalog.hot_products import HotProducts, NullHotProducts
from app.application.ports import BackgroundTasks, Clock, ProductCatalog
from app.domain.outcome import CatalogUnavailable, ProductNotFound, Unavailable
from app.domain.page import Page
from app.domain.product import (
    CachedProduct,
    CachePolicy,
    CatalogState,
    Freshness,
    Product,
    ProductId,
    ProductQuery,
    ProductReading,
    RefreshState,
    ServedFrom,
    UnknownProduct,
)
from app.domain.repository import Lookups, UnitOfWorkFactory

R = TypeVar("R")
T = TypeVar("T")

BUSY_RETRY_AFTER = timedelta(seconds=1)

_STALE = {ServedFrom.STALE_WHILE_REVALIDATE, ServedFrom.STALE_IF_ERROR}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogReading:
    """
    A page of the catalog as it was read through the cache.

    `age` is that of the whole list; None if only single products are known.
    """

    page: Page[CachedProduct]
    age: timedelta | None
    served_from: ServedFrom
    stale: bool
    collapsed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductsRead:
    """
    The copies of several products, and those that nobody can tell about at the moment.

    What is in neither is not listed by the catalog.
    """

    known: Mapping[ProductId, CachedProduct]
    unavailable: frozenset[ProductId]


@dataclass(frozen=True, kw_only=True)
class ProductReader:
    """
    Reads products, and sees to it that their copies stay young.

    More than `one_by_one` products that need a refresh are asked for by one call for everything.
    After a failure the catalog's own wish for a pause is obeyed up to `longest_backoff`. Lists of
    the catalog are looked up in `lagging` storage, if there is any; single products in the `hot`
    tier first, which knows of nothing but fresh copies.
    """

    uow: UnitOfWorkFactory
    lookups: Lookups
    catalog: ProductCatalog
    tasks: BackgroundTasks
    clock: Clock
    policy: CachePolicy
    observer: CacheObserver = field(default_factory=NullCacheObserver)
    sleep: Sleep = asyncio.sleep
    one_by_one: int = 3
    longest_backoff: timedelta = timedelta(minutes=5)
    lagging: UnitOfWorkFactory | None = None
    hot: HotProducts = field(default_factory=NullHotProducts)

    async def read(self, product_id: ProductId) -> ProductReading:
        """
        Read one product.

        :raises ProductNotFound: if the catalog does not list it
        :raises CatalogUnavailable: if nothing is known of it and the catalog cannot be asked
        """
        if (hot := await self.hot.get(product_id)) is not None and self._is_fresh(hot):
            return self._served(hot, ServedFrom.HIT)
        return await self.read_from(product_id, await self.lookups.find_product(product_id))

    async def read_from(
        self, product_id: ProductId, known: CachedProduct | UnknownProduct | None
    ) -> ProductReading:
        """
        Read a product of which somebody has just looked up what is known.

        :raises ProductNotFound: if the catalog does not list it
        :raises CatalogUnavailable: if nothing is known of it and the catalog cannot be asked
        """
        now = self.clock()
        match known:
            case CachedProduct(removed=True):
                raise self._not_found(product_id, ServedFrom.NEGATIVE_HIT)
            case CachedProduct():
                return await self._read_known(known, now)
            case UnknownProduct() if known.absent(now):
                raise self._not_found(product_id, ServedFrom.NEGATIVE_HIT)
            case UnknownProduct() if known.refresh.blocked(now):
                self.observer.refused()
                raise unavailable_until(known.refresh.blocked_until, now=now)
            case _:
                return await self._read_unknown(product_id)

    def fresh(self, known: CachedProduct | UnknownProduct | None) -> CachedProduct | None:
        """Return what is known if it is a copy that is fresh: nobody has to be asked then."""
        if not isinstance(known, CachedProduct) or known.removed or not self._is_fresh(known):
            return None
        return known

    def note_hit(self) -> None:
        """Count a fresh copy that has been made use of."""
        self.observer.served(ServedFrom.HIT, collapsed=False)

    async def _read_known(self, known: CachedProduct, now: datetime) -> ProductReading:
        match known.freshness(self.policy, now=now):
            case Freshness.FRESH:
                await self.hot.keep(known, until=known.fresh_until(self.policy))
                return self._served(known, ServedFrom.HIT)
            case Freshness.STALE:
                if known.refresh.claimable(now):
                    self._start(self._about(known.product.id))
                return self._served(known, ServedFrom.STALE_WHILE_REVALIDATE)
            case Freshness.EXPIRED:
                if not self._failed_lately(known.refresh, now):
                    return await self._revalidate(known)
                if known.refresh.claimable(now):
                    self._start(self._about(known.product.id))
                return self._served(known, ServedFrom.STALE_IF_ERROR)

    async def _revalidate(self, known: CachedProduct) -> ProductReading:
        question = self._about(known.product.id)
        match await self._join(question):
            case Answer(value=CachedProduct(removed=True)):
                raise self._not_found(question.id, ServedFrom.REVALIDATED)
            case Answer(value=CachedProduct() as copy, asked=asked) if (
                copy.fetched_at > known.fetched_at
            ):
                return self._served(copy, ServedFrom.REVALIDATED, collapsed=asked is not question)
            case _:
                return self._served(known, ServedFrom.STALE_IF_ERROR)

    async def _read_unknown(self, product_id: ProductId) -> ProductReading:
        question = self._about(product_id)
        match await self._join(question):
            case Unavailable() as failure:
                self.observer.refused()
                raise _again(failure)
            case Answer(value=CachedProduct(removed=False) as copy, asked=asked):
                return self._served(copy, ServedFrom.MISS, collapsed=asked is not question)
            case _:
                raise self._not_found(product_id, ServedFrom.MISS)

    async def read_many(
        self, product_ids: Collection[ProductId], *, patience: timedelta
    ) -> ProductsRead:
        """
        Read several products, and ask the catalog at most once for all that are not known.

        Nobody waits longer than `patience` for it; what is asked goes on all the same. Copies are
        served as they are; what is due is refreshed in the background.
        """
        known, unknown = await self._known_of(product_ids)
        unavailable = unknown
        if unknown:
            now = self.clock()
            question: Question[Any, Any] = (
                self._about(next(iter(unknown)))
                if len(unknown) == 1
                # Of what it leaves out, an older list says nothing.
                else CatalogQuestion(since=now, policy=self.policy)
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(patience.total_seconds()):
                    reply = await self._join(question)
                    if isinstance(reply, Answer):
                        known, unknown = await self._known_of(product_ids)
                        # Neither does one that was under way already, and was joined.
                        began_before = (
                            isinstance(reply.value, CatalogRefresh)
                            and reply.value.fetched_at < now
                        )
                        unavailable = unknown if began_before else frozenset()
        self.refresh_soon(known.values())
        return ProductsRead(known=known, unavailable=unavailable)

    async def _known_of(
        self, product_ids: Collection[ProductId]
    ) -> tuple[Mapping[ProductId, CachedProduct], frozenset[ProductId]]:
        """Return the copies there are, and those ids of which not even absence is known."""
        async with self.uow() as work:
            rows = await work.products.get_many(product_ids)
        now = self.clock()
        copies = {id_: row for id_, row in rows.items() if isinstance(row, CachedProduct)}
        absent = {
            id_ for id_, row in rows.items() if isinstance(row, UnknownProduct) and row.absent(now)
        }
        return (
            {id_: copy for id_, copy in copies.items() if not copy.removed},
            frozenset(product_ids) - copies.keys() - absent,
        )

    async def list_page(self, query: ProductQuery) -> CatalogReading:
        """
        Read a page of the catalog.

        :raises CatalogUnavailable: if nothing at all is known and the catalog cannot be asked
        """
        state, page = await self._list_known(query, self.lagging or self.uow)
        now = self.clock()
        age = state.age(now)
        match None if age is None else self.policy.freshness(age):
            case Freshness.FRESH:
                return self._listed(page, age, ServedFrom.HIT)
            case Freshness.STALE:
                if state.refresh.claimable(now):
                    self._start(self._about_everything(now))
                return self._listed(page, age, ServedFrom.STALE_WHILE_REVALIDATE)
            case Freshness.EXPIRED | None:
                return await self._list_anew(query, state, page, now)

    async def _list_anew(
        self,
        query: ProductQuery,
        state: CatalogState,
        page: Page[CachedProduct],
        now: datetime,
    ) -> CatalogReading:
        age = state.age(now)
        question = self._about_everything(now)
        if self._failed_lately(state.refresh, now) and await self._anything_known(page, age):
            if state.refresh.claimable(now):
                self._start(question)
            return self._listed(page, age, ServedFrom.STALE_IF_ERROR)
        match await self._join(question):
            case Unavailable() as failure:
                if await self._anything_known(page, age):
                    return self._listed(page, age, ServedFrom.STALE_IF_ERROR)
                self.observer.refused()
                raise _again(failure)
            case Answer(asked=asked):
                # What has just been stored is not everywhere yet.
                renewed, page = await self._list_known(query, self.uow)
                return self._listed(
                    page,
                    renewed.age(self.clock()),
                    ServedFrom.MISS if state.fetched_at is None else ServedFrom.REVALIDATED,
                    collapsed=asked is not question,
                )

    async def _anything_known(self, page: Page[CachedProduct], age: timedelta | None) -> bool:
        """Whether an empty page would be an answer, too."""
        if page.items or age is not None:
            return True
        _, anything = await self._list_known(ProductQuery(limit=1), self.uow)
        return bool(anything.items)

    async def _list_known(
        self, query: ProductQuery, storage: UnitOfWorkFactory
    ) -> tuple[CatalogState, Page[CachedProduct]]:
        async with storage() as work:
            state = await work.products.catalog_state()
            return state, await work.products.list_page(query)

    def refresh_soon(self, items: Iterable[CachedProduct]) -> None:
        """Begin to refresh those that need it and nobody asks for; never wait, never raise."""
        now = self.clock()
        due = frozenset(
            [
                item.product.id
                for item in items
                if now > item.fresh_until(self.policy)
                and not item.removed
                and item.refresh.claimable(now)
            ]
        )
        if len(due) > self.one_by_one:
            self._start(self._about_everything(now, sake_of=due))
            return
        for product_id in due:
            self._start(self._about(product_id))

    async def refresh_all(self) -> CatalogRefresh:
        """
        Ask for the whole catalog, however young the copies are, unless somebody just does.

        :raises CatalogUnavailable: if that is not possible
        """
        question = CatalogQuestion(since=self.clock(), policy=self.policy)
        match await self._calls.answer(question):
            case Unavailable() as failure:
                raise failure
            case Answer(value=refresh):
                return refresh

    async def validate(self, product_id: ProductId) -> Product | None:
        """
        Ask the catalog for a product, whatever the cache believes; None if it does not list it.

        :raises CatalogUnavailable: if it cannot be asked
        """
        match await self._calls.ask(self._about(product_id)):
            case CachedProduct(removed=False, product=product):
                return product
            case _:
                return None

    def _is_fresh(self, copy: CachedProduct) -> bool:
        return copy.freshness(self.policy, now=self.clock()) is Freshness.FRESH

    def _failed_lately(self, refresh: RefreshState, now: datetime) -> bool:
        """
        Whether the last attempt failed, and that is no older news than a fresh copy may be.

        Then it has been fetched first already, so to say: the next attempt is made behind the
        reader's back, and an outage costs one reader a wait and not each of them. However short
        the soft TTL is, that attempt, which takes a lease at the most, is not waited for either.
        """
        failed_until = refresh.blocked_until
        remembered = max(self.policy.soft_ttl, self.policy.lease)
        return failed_until is not None and now <= failed_until + remembered

    def _about(self, product_id: ProductId) -> ProductQuestion:
        return ProductQuestion(id=product_id, policy=self.policy)

    def _about_everything(
        self, now: datetime, *, sake_of: frozenset[ProductId] = frozenset()
    ) -> CatalogQuestion:
        return CatalogQuestion(since=now - self.policy.soft_ttl, policy=self.policy, about=sake_of)

    @cached_property
    def _calls(self) -> LeasedCalls:
        return LeasedCalls(
            uow=self.uow,
            catalog=self.catalog,
            clock=self.clock,
            policy=self.policy,
            observer=self.observer,
            hot=self.hot,
            sleep=self.sleep,
            longest_backoff=self.longest_backoff,
        )

    def _start(self, question: Question[R, T]) -> None:
        """Get the answer in the background."""
        self.tasks.start(question.key, partial(self._calls.answer, question))

    async def _join(self, question: Question[R, T]) -> Answer[T] | Unavailable:
        """Get the answer by a call shared with everybody in this process who needs it."""
        return await self.tasks.join(
            question.key, partial(self._calls.answer, question)
        ) or CatalogUnavailable("Too much is asked of us at once", retry_after=BUSY_RETRY_AFTER)

    def _served(
        self, cached: CachedProduct, served_from: ServedFrom, *, collapsed: bool = False
    ) -> ProductReading:
        self.observer.served(served_from, collapsed=collapsed)
        return ProductReading(
            cached=cached,
            served_from=served_from,
            stale=served_from in _STALE,
            collapsed=collapsed,
        )

    def _listed(
        self,
        page: Page[CachedProduct],
        age: timedelta | None,
        served_from: ServedFrom,
        *,
        collapsed: bool = False,
    ) -> CatalogReading:
        self.observer.served(served_from, collapsed=collapsed)
        return CatalogReading(
            page=page,
            age=age,
            served_from=served_from,
            stale=served_from in _STALE,
            collapsed=collapsed,
        )

    def _not_found(self, product_id: ProductId, served_from: ServedFrom) -> ProductNotFound:
        self.observer.served(served_from, collapsed=False)
        return ProductNotFound(
            f"The catalog does not list product {product_id}",
            remembered=served_from is ServedFrom.NEGATIVE_HIT,
        )


def _again(failure: Unavailable) -> Unavailable:
    # Everybody who shared the call raises an exception of their own: one that is raised many times
    # would collect the tracebacks of them all.
    return type(failure)(str(failure), retry_after=failure.retry_after)
