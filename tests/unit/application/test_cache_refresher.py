"""What `CacheRefresher` does between the lookup and the fetch."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

from typing_extensions import override

from app.application.catalog.cache_observer import NullCacheObserver
from app.application.catalog.cache_refresh import CacheRefresh, CacheState, ProductRefresh
from app.application.catalog.cache_refresher import (
    CacheRefresher,
    RefreshResult,
    raised_again,
    unavailable_until,
)
from app.application.catalog.hot_products import HotProducts, NullHotProducts
from app.application.ports import ProductCatalog
from app.domain.outcome import CatalogUnavailable, HashingBusy
from app.domain.product import RefreshState
from app.domain.repository import ProductRepository, UnitOfWork, UnitOfWorkFactory
from tests import make
from tests.double.catalog import StubCatalog
from tests.double.clock import ManualClock
from tests.double.storage import InMemoryStorage
from tests.double.tasks import DeferredTasks

UNUSED_STATE = RefreshState()


class OvertakenRefresh(CacheRefresh[str, str]):
    """A refresh that another process completes between the lookup and the lease."""

    whole = False

    def __init__(self, *, stored: str | None = None, state: RefreshState = UNUSED_STATE) -> None:
        self.stored = stored
        self.state = state
        self.fetched = 0
        self.leases = 0

    @property
    @override
    def key(self) -> str:
        return "refresh"

    @override
    async def look_up(self, products: ProductRepository, *, now: datetime) -> CacheState[str]:
        return CacheState(result=self.stored, refresh=self.state)

    @override
    async def acquire_lease(
        self, products: ProductRepository, *, now: datetime, until: datetime
    ) -> bool:
        self.leases += 1
        self.stored = "theirs"
        return bool(await products.acquire_lease([make.product_id()], now=now, until=until))

    @override
    async def fetch(self, catalog: ProductCatalog) -> str:
        self.fetched += 1
        return "ours"

    @override
    async def store(
        self, products: ProductRepository, response: str, *, asked_at: datetime
    ) -> str:
        return response

    @override
    async def update_hot_tier(self, hot: HotProducts, response: str, result: str) -> None:
        pass

    @override
    def without_storage(self, response: str, *, asked_at: datetime) -> str | None:
        return response

    @override
    async def block(self, products: ProductRepository, *, until: datetime) -> None:
        pass


TICK = make.SECOND / 1_000_000


def _refresher(
    uow: UnitOfWorkFactory,
    clock: ManualClock,
    catalog: StubCatalog | None = None,
    *,
    soft_ttl: timedelta = make.CACHE_POLICY.soft_ttl,
) -> CacheRefresher:
    return CacheRefresher(
        uow=uow,
        catalog=catalog or StubCatalog(),
        tasks=DeferredTasks(),
        clock=clock,
        policy=replace(make.CACHE_POLICY, soft_ttl=soft_ttl),
        observer=NullCacheObserver(),
        hot=NullHotProducts(),
        sleep=clock.sleep,
        longest_backoff=make.MINUTE,
    )


class TestTheHolderOfTheLease:
    async def test_looks_up_again_before_fetching(self) -> None:
        refresh = OvertakenRefresh()
        refresher = _refresher(InMemoryStorage(), ManualClock())

        assert await refresher.run(refresh) == RefreshResult(value="theirs", fetched_by=None)
        assert refresh.fetched == 0

    async def test_takes_no_lease_if_there_is_a_result(self) -> None:
        refresh = OvertakenRefresh(stored="older")
        result = await _refresher(InMemoryStorage(), ManualClock()).run(refresh)
        assert result == RefreshResult(value="older", fetched_by=None)
        assert refresh.leases == 0

    async def test_takes_no_lease_while_a_failure_is_recent(self) -> None:
        refresh = OvertakenRefresh(state=RefreshState(blocked_until=make.NOW + make.MINUTE))
        result = await _refresher(InMemoryStorage(), ManualClock()).run(refresh)
        assert isinstance(result, CatalogUnavailable)
        assert result.retry_after == make.MINUTE
        assert (refresh.leases, refresh.fetched) == (0, 0)

    async def test_has_a_whole_lease_although_storage_was_slow(self) -> None:
        product, clock, storage = make.product(), ManualClock(), InMemoryStorage()
        catalog = StubCatalog(product)
        catalog.hold()

        def busy_storage() -> UnitOfWork:
            clock.advance(make.CACHE_POLICY.lease)
            return storage()

        refresh = ProductRefresh(id=product.id, policy=make.CACHE_POLICY)
        result = asyncio.ensure_future(_refresher(busy_storage, clock, catalog).run(refresh))
        await catalog.asked.wait()

        async with storage() as work:
            row = await work.products.get(product.id)
        assert row is not None
        assert row.refresh == RefreshState(leased_until=clock() + make.CACHE_POLICY.lease)
        catalog.release()
        assert isinstance(await result, RefreshResult)


class TestAFailure:
    def test_counts_for_as_long_as_a_copy_is_fresh_and_for_a_lease(self) -> None:
        soft, lease = make.CACHE_POLICY.soft_ttl, make.CACHE_POLICY.lease
        for soft_ttl, remembered in [(soft, soft), (lease / 2, lease)]:
            refresher = _refresher(InMemoryStorage(), ManualClock(), soft_ttl=soft_ttl)
            state = RefreshState(blocked_until=make.NOW)
            for moment, recent in [
                (make.NOW - make.MINUTE, True),
                (make.NOW, True),
                (make.NOW + remembered, True),
                (make.NOW + remembered + TICK, False),
            ]:
                assert refresher.failed_recently(state, moment) is recent

    def test_is_not_recent_if_there_was_none(self) -> None:
        refresher = _refresher(InMemoryStorage(), ManualClock())
        assert not refresher.failed_recently(RefreshState(), make.NOW)

    def test_tells_when_to_try_again_but_not_sooner_than_in_a_second(self) -> None:
        for moment, wait in [
            (make.NOW + make.MINUTE, make.MINUTE),
            (make.NOW + make.SECOND / 2, make.SECOND),
            (make.NOW - make.MINUTE, make.SECOND),
            (None, make.SECOND),
        ]:
            assert unavailable_until(moment, now=make.NOW).retry_after == wait

    def test_is_copied_for_each_request(self) -> None:
        for kind in (CatalogUnavailable, HashingBusy):
            failure = kind("The reason", retry_after=make.MINUTE)
            copy = raised_again(failure)
            assert copy is not failure
            assert (type(copy), str(copy), copy.retry_after) == (kind, "The reason", make.MINUTE)
