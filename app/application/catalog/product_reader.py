"""
Products through the cache: stale-while-revalidate, stale-if-error (RFC 5861).

    age      | reading one product                                 | in lists of favorites
    ---------+-----------------------------------------------------+---------------------------
    fresh    | the copy                                            | the copies
    stale    | the copy at once, one refresh in the background     | likewise
    expired  | fetch first; the copy, stale, if that fails         | the copies, refresh
    absent   | fetch; "no such product" is 404, a failure is 503   | (none)
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.application.catalog.cache_observer import CacheObserver
from app.application.catalog.cache_refresh import (
    CacheRefresh,
    CatalogRefresh,
    CatalogResult,
    ProductRefresh,
)
from app.application.catalog.cache_refresher import (
    CacheRefresher,
    RefreshResult,
    raised_again,
    unavailable_until,
)
from app.application.catalog.hot_products import HotProducts
from app.application.ports import Clock
from app.domain.outcome import ProductNotFound, Unavailable
from app.domain.product import (
    CachedProduct,
    CachePolicy,
    Freshness,
    Product,
    ProductId,
    ProductReading,
    ServedFrom,
    UnknownProduct,
)
from app.domain.queries import Queries

REFRESHED_ONE_BY_ONE = 3
"""More products than this that are due are refreshed by one call for the whole catalog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductsRead:
    """
    The copies of several products, and those that cannot be found out about at the moment.

    The catalog does not list what is in neither.
    """

    known: Mapping[ProductId, CachedProduct]
    unavailable: frozenset[ProductId]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductReader:
    """Reads products, and starts the refreshes that keep their copies fresh."""

    queries: Queries
    refresher: CacheRefresher
    hot: HotProducts
    clock: Clock
    policy: CachePolicy
    observer: CacheObserver

    async def read(self, product_id: ProductId) -> ProductReading:
        """
        Read one product.

        :raises ProductNotFound: if the catalog does not list it
        :raises CatalogUnavailable: if there is no copy and the catalog cannot be asked
        """
        if (hot := self._fresh(await self.hot.get(product_id))) is not None:
            return self._served(hot, ServedFrom.HIT)
        return await self.read_from(product_id, await self.queries.find_product(product_id))

    async def read_from(
        self, product_id: ProductId, known: CachedProduct | UnknownProduct | None
    ) -> ProductReading:
        """
        Read a product whose row has just been read.

        :raises ProductNotFound: if the catalog does not list it
        :raises CatalogUnavailable: if there is no copy and the catalog cannot be asked
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

    def last_seen(self, product_id: ProductId) -> CachedProduct | None:
        """Return the copy seen last if it is fresh and not removed; it may be outdated."""
        return self._fresh(self.queries.last_seen_product(product_id))

    def note_hit(self) -> None:
        """Count the use of a fresh copy that was not read through `read`."""
        self.observer.served(ServedFrom.HIT, collapsed=False)

    async def _read_known(self, known: CachedProduct, now: datetime) -> ProductReading:
        match known.freshness(self.policy, now=now):
            case Freshness.FRESH:
                await self.hot.keep(known, until=known.fresh_until(self.policy))
                return self._served(known, ServedFrom.HIT)
            case Freshness.STALE:
                if known.refresh.allowed(now):
                    self.refresher.start(self._refresh_of(known.product.id))
                return self._served(known, ServedFrom.STALE_WHILE_REVALIDATE)
            case Freshness.EXPIRED:
                if not self.refresher.failed_recently(known.refresh, now):
                    return await self._revalidate(known)
                if known.refresh.allowed(now):
                    self.refresher.start(self._refresh_of(known.product.id))
                return self._served(known, ServedFrom.STALE_IF_ERROR)

    async def _revalidate(self, known: CachedProduct) -> ProductReading:
        refresh = self._refresh_of(known.product.id)
        match await self.refresher.join(refresh):
            case RefreshResult(value=CachedProduct(removed=True)):
                raise self._not_found(refresh.id, ServedFrom.REVALIDATED)
            case RefreshResult(value=CachedProduct() as copy, fetched_by=by) if (
                copy.fetched_at > known.fetched_at
            ):
                return self._served(copy, ServedFrom.REVALIDATED, collapsed=by is not refresh)
            case _:
                return self._served(known, ServedFrom.STALE_IF_ERROR)

    async def _read_unknown(self, product_id: ProductId) -> ProductReading:
        refresh = self._refresh_of(product_id)
        match await self.refresher.join(refresh):
            case Unavailable() as failure:
                self.observer.refused()
                raise raised_again(failure)
            case RefreshResult(value=CachedProduct(removed=False) as copy, fetched_by=by):
                return self._served(copy, ServedFrom.MISS, collapsed=by is not refresh)
            case _:
                raise self._not_found(product_id, ServedFrom.MISS)

    async def read_many(
        self, product_ids: Collection[ProductId], *, patience: timedelta
    ) -> ProductsRead:
        """
        Read several products, with at most one call of the catalog for all unknown ones.

        The call is waited for no longer than `patience`, and goes on beyond that. Copies are
        served as they are; those that are due are refreshed in the background.
        """
        known, unknown = await self._known_of(product_ids)
        unavailable = unknown
        if unknown:
            now = self.clock()
            refresh: CacheRefresh[Any, Any] = (
                self._refresh_of(next(iter(unknown)))
                if len(unknown) == 1
                # An older list says nothing about a product that it leaves out.
                else CatalogRefresh(since=now, policy=self.policy)
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(patience.total_seconds()):
                    result = await self.refresher.join(refresh)
                    if isinstance(result, RefreshResult):
                        known, unknown = await self._known_of(product_ids)
                        # Nor does a list whose call had begun before.
                        began_before = (
                            isinstance(result.value, CatalogResult)
                            and result.value.fetched_at < now
                        )
                        unavailable = unknown if began_before else frozenset()
        self.refresh_soon(known.values())
        return ProductsRead(known=known, unavailable=unavailable)

    async def _known_of(
        self, product_ids: Collection[ProductId]
    ) -> tuple[Mapping[ProductId, CachedProduct], frozenset[ProductId]]:
        """Return the copies, and the ids of which not even absence is known."""
        rows = await self.queries.find_products(product_ids)
        now = self.clock()
        copies = {id_: row for id_, row in rows.items() if isinstance(row, CachedProduct)}
        absent = {
            id_ for id_, row in rows.items() if isinstance(row, UnknownProduct) and row.absent(now)
        }
        return (
            {id_: copy for id_, copy in copies.items() if not copy.removed},
            frozenset(product_ids) - copies.keys() - absent,
        )

    def refresh_soon(self, copies: Iterable[CachedProduct | None]) -> None:
        """Start to refresh the copies that are due; never wait or raise."""
        now = self.clock()
        due = frozenset(
            [
                copy.product.id
                for copy in copies
                if copy is not None
                and copy.stale(self.policy, now=now)
                and not copy.removed
                and copy.refresh.allowed(now)
            ]
        )
        if len(due) > REFRESHED_ONE_BY_ONE:
            since = now - self.policy.soft_ttl
            self.refresher.start(CatalogRefresh(since=since, policy=self.policy, due=due))
            return
        for product_id in due:
            self.refresher.start(self._refresh_of(product_id))

    async def validate(self, product_id: ProductId) -> Product | None:
        """
        Fetch a product whatever the cache holds; None if the catalog does not list it.

        :raises CatalogUnavailable: if it cannot be asked
        """
        match await self.refresher.fetch(self._refresh_of(product_id)):
            case CachedProduct(removed=False, product=product):
                return product
            case _:
                return None

    def _fresh(self, copy: CachedProduct | None) -> CachedProduct | None:
        if copy is None or copy.removed or copy.stale(self.policy, now=self.clock()):
            return None
        return copy

    def _refresh_of(self, product_id: ProductId) -> ProductRefresh:
        return ProductRefresh(id=product_id, policy=self.policy)

    def _served(
        self, cached: CachedProduct, served_from: ServedFrom, *, collapsed: bool = False
    ) -> ProductReading:
        self.observer.served(served_from, collapsed=collapsed)
        return ProductReading(cached=cached, served_from=served_from, collapsed=collapsed)

    def _not_found(self, product_id: ProductId, served_from: ServedFrom) -> ProductNotFound:
        self.observer.served(served_from, collapsed=False)
        return ProductNotFound(
            f"The catalog does not list product {product_id}",
            remembered=served_from is ServedFrom.NEGATIVE_HIT,
        )
