"""A catalog, a storage, and processes that read through the cache."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from typing_extensions import override

from app.application.catalog.cache_observer import CacheObserver
from app.application.catalog.cache_refresher import Sleep
from app.application.catalog.hot_products import HotProducts, NullHotProducts
from app.domain.product import (
    CachedProduct,
    CatalogState,
    Product,
    ProductId,
    ServedFrom,
    UnknownProduct,
)
from app.domain.queries import Queries
from tests import make
from tests.double.catalog import StubCatalog
from tests.double.clock import ManualClock
from tests.double.queries import InMemoryQueries
from tests.double.storage import InMemoryStorage
from tests.double.tasks import DeferredTasks
from tests.readers import readers

T = TypeVar("T")

POLICY = make.CACHE_POLICY
FRESH = POLICY.soft_ttl
STALE = POLICY.soft_ttl + make.SECOND
EXPIRED = POLICY.hard_ttl + make.SECOND
FIVE = ProductId(5)


class CountingObserver(CacheObserver):
    """Counts the events of the cache."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    @override
    def served(self, served_from: ServedFrom, *, collapsed: bool) -> None:
        self.counts[served_from.value] += 1
        self.counts["collapsed"] += collapsed

    @override
    def refused(self) -> None:
        self.counts["refused"] += 1

    @override
    def asked(self, *, whole: bool, succeeded: bool) -> None:
        scope = {True: "catalog", False: "product"}[whole]
        outcome = {True: "ok", False: "failed"}[succeeded]
        self.counts[f"{scope} {outcome}"] += 1


class Process:
    """A process of the service: its own reader and background work."""

    def __init__(
        self, world: "World", *, sleep: Sleep | None = None, queries: Queries | None = None
    ) -> None:
        self.tasks = DeferredTasks()
        self.observer = CountingObserver()
        built = readers(
            uow=world.storage,
            queries=queries or InMemoryQueries(world.storage),
            catalog=world.catalog,
            tasks=self.tasks,
            clock=world.clock,
            observer=self.observer,
            hot=world.hot,
            sleep=sleep or world.clock.sleep,
        )
        self.reader, self.catalog_reader = built.products, built.catalog


class World:
    """What all processes share."""

    def __init__(self, *products: Product) -> None:
        self.clock = ManualClock()
        self.catalog = StubCatalog(*products)
        self.storage = InMemoryStorage()
        self.hot: HotProducts = NullHotProducts()

    def process(self, *, sleep: Sleep | None = None) -> Process:
        """Start a process; by default its sleep advances the clock."""
        return Process(self, sleep=sleep)

    async def known(self, *products: Product, age: timedelta = timedelta(0)) -> None:
        """Store copies of products that have an age."""
        async with self.storage() as work:
            await work.products.store(products, asked_at=self.clock() - age)
            await work.commit()

    async def listed(self, *products: Product, age: timedelta = timedelta(0)) -> None:
        """Store copies of the whole catalog that have an age."""
        async with self.storage() as work:
            asked_at = self.clock() - age
            await work.products.store(products, asked_at=asked_at)
            await work.products.note_complete_list([p.id for p in products], asked_at=asked_at)
            await work.commit()

    async def leased(self, product_id: ProductId, *, until: datetime) -> None:
        """Let another process hold the lease of a product."""
        async with self.storage() as work:
            await work.products.acquire_lease([product_id], now=self.clock(), until=until)
            await work.commit()

    async def row(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        """Return what storage holds."""
        async with self.storage() as work:
            return await work.products.get(product_id)

    async def state(self) -> CatalogState:
        """Return what storage holds of the catalog as a whole."""
        async with self.storage() as work:
            return await work.products.catalog_state()


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until a condition is true."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("The condition did not become true")


def begin(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Run something concurrently with the test."""
    return asyncio.ensure_future(work)


async def turns(number: int = 20) -> None:
    """Let other tasks run."""
    for _ in range(number):
        await asyncio.sleep(0)
