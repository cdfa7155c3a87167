"""What `CacheRefresher` does between the lookup and the fetch, with a refresh of its own."""

import asyncio
from datetime import datetime

from typing_extensions import override

from app.application.catalog.cache_observer import NullCacheObserver
from app.application.catalog.cache_refresh import CacheRefresh, CacheState, ProductRefresh
from app.application.catalog.cache_refresher import CacheRefresher, RefreshResult
from app.application.catalog.hot_products import HotProducts, NullHotProducts
from app.application.ports import ProductCatalog
from app.domain.product import RefreshState
from app.domain.repository import ProductRepository, UnitOfWork, UnitOfWorkFactory
from tests import make
from tests.double.catalog import StubCatalog
from tests.double.clock import ManualClock
from tests.double.storage import InMemoryStorage
from tests.double.tasks import DeferredTasks


class OvertakenRefresh(CacheRefresh[str, str]):
    """A refresh that another process completes between the lookup and the lease."""

    whole = False

    def __init__(self) -> None:
        self.stored: str | None = None
        self.fetched = 0

    @property
    @override
    def key(self) -> str:
        return "refresh"

    @override
    async def look_up(self, products: ProductRepository, *, now: datetime) -> CacheState[str]:
        return CacheState(result=self.stored, refresh=RefreshState())

    @override
    async def acquire_lease(
        self, products: ProductRepository, *, now: datetime, until: datetime
    ) -> bool:
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


def _refresher(
    uow: UnitOfWorkFactory, clock: ManualClock, catalog: StubCatalog | None = None
) -> CacheRefresher:
    return CacheRefresher(
        uow=uow,
        catalog=catalog or StubCatalog(),
        tasks=DeferredTasks(),
        clock=clock,
        policy=make.CACHE_POLICY,
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

    async def test_has_a_whole_lease_however_long_storage_was_waited_for(self) -> None:
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
