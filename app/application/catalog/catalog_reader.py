"""The list of the catalog through its cache: as one product, but a failure never hides a copy."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.application.catalog.cache_observer import CacheObserver
from app.application.catalog.cache_refresh import CatalogRefresh, CatalogResult
from app.application.catalog.cache_refresher import CacheRefresher, RefreshResult, raised_again
from app.application.ports import Clock
from app.domain.outcome import Unavailable
from app.domain.page import Page
from app.domain.product import (
    CachedProduct,
    CachePolicy,
    CatalogState,
    Freshness,
    ProductQuery,
    ServedFrom,
)
from app.domain.queries import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogReading:
    """
    A page of the catalog read through the cache.

    `age` is that of the whole list; None if only single products are known.
    """

    page: Page[CachedProduct]
    age: timedelta | None
    served_from: ServedFrom
    collapsed: bool = False

    @property
    def stale(self) -> bool:
        """Whether a newer list was due."""
        return self.served_from.stale


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogReader:
    """Reads pages of the catalog, and starts the refreshes that keep the whole list fresh."""

    queries: Queries
    refresher: CacheRefresher
    clock: Clock
    policy: CachePolicy
    observer: CacheObserver

    async def list_page(self, query: ProductQuery) -> CatalogReading:
        """
        Read a page of the catalog.

        :raises CatalogUnavailable: if nothing at all is known and the catalog cannot be asked
        """
        state, page = await self.queries.list_products(query)
        now = self.clock()
        age = state.age(now)
        match None if age is None else self.policy.freshness(age):
            case Freshness.FRESH:
                return self._listed(page, age, ServedFrom.HIT)
            case Freshness.STALE:
                if state.refresh.allowed(now):
                    self.refresher.start(self._refresh(now))
                return self._listed(page, age, ServedFrom.STALE_WHILE_REVALIDATE)
            case Freshness.EXPIRED | None:
                return await self._fetch_first(query, state, page, now)

    async def _fetch_first(
        self,
        query: ProductQuery,
        state: CatalogState,
        page: Page[CachedProduct],
        now: datetime,
    ) -> CatalogReading:
        age = state.age(now)
        refresh = self._refresh(now)
        if self.refresher.failed_recently(state.refresh, now) and await self._anything_known(
            page, age
        ):
            if state.refresh.allowed(now):
                self.refresher.start(refresh)
            return self._listed(page, age, ServedFrom.STALE_IF_ERROR)
        match await self.refresher.join(refresh):
            case Unavailable() as failure:
                if await self._anything_known(page, age):
                    return self._listed(page, age, ServedFrom.STALE_IF_ERROR)
                self.observer.refused()
                raise raised_again(failure)
            case RefreshResult(fetched_by=by):
                renewed, page = await self.queries.list_products(query, current=True)
                return self._listed(
                    page,
                    renewed.age(self.clock()),
                    ServedFrom.MISS if state.fetched_at is None else ServedFrom.REVALIDATED,
                    collapsed=by is not refresh,
                )

    async def _anything_known(self, page: Page[CachedProduct], age: timedelta | None) -> bool:
        """Tell whether an empty page would be a valid answer too."""
        if page.items or age is not None:
            return True
        _, anything = await self.queries.list_products(ProductQuery(limit=1), current=True)
        return bool(anything.items)

    async def refresh_all(self) -> CatalogResult:
        """
        Fetch the whole catalog, however fresh the copies are, unless that is happening already.

        :raises CatalogUnavailable: if it cannot be asked
        """
        match await self.refresher.run(CatalogRefresh(since=self.clock(), policy=self.policy)):
            case Unavailable() as failure:
                raise failure
            case RefreshResult(value=result):
                return result

    def _refresh(self, now: datetime) -> CatalogRefresh:
        return CatalogRefresh(since=now - self.policy.soft_ttl, policy=self.policy)

    def _listed(
        self,
        page: Page[CachedProduct],
        age: timedelta | None,
        served_from: ServedFrom,
        *,
        collapsed: bool = False,
    ) -> CatalogReading:
        self.observer.served(served_from, collapsed=collapsed)
        return CatalogReading(page=page, age=age, served_from=served_from, collapsed=collapsed)
