"""What readers of two processes rely on, in any order of events."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from app.application.catalog.catalog_reader import CatalogReader
from app.application.catalog.hot_products import HotProducts, NullHotProducts
from app.application.catalog.product_reader import ProductReader
from app.application.ports import ProductCatalog
from app.domain.outcome import CatalogUnavailable, ProductNotFound
from app.domain.product import CachedProduct, Product, ProductId, ProductQuery, ProductReading
from tests import make
from tests.double.clock import ManualClock
from tests.double.hot_products import InMemoryHotProducts
from tests.double.queries import InMemoryQueries
from tests.double.storage import InMemoryStorage
from tests.double.tasks import DeferredTasks
from tests.readers import readers
from tests.unit.application.product_world import POLICY, turns

IDS = tuple(ProductId(number) for number in range(1, 6))
ids = st.sampled_from(IDS)
processes = st.integers(0, 1)

AS_LONG_AS_A_CALL_LASTS = 30 * make.SECOND
LEAST_GAP = min(POLICY.lease, POLICY.backoff, POLICY.negative_ttl) - make.SECOND


class LateCatalog(ProductCatalog):
    """Responds late with the state at the time of the request; the version is in the title."""

    def __init__(self, clock: ManualClock) -> None:
        self.down = False
        self.products: dict[ProductId, int] = {}
        self.denied: Counter[ProductId] = Counter()
        self.asked_at: dict[str, datetime] = {}
        self.may_reply = asyncio.Event()
        self.may_reply.set()
        self._clock = clock

    @override
    async def find(self, product_id: ProductId) -> Product | None:
        version = self.products.get(product_id)
        await self._reply(f"product {product_id}")
        self.denied[product_id] += version is None
        return None if version is None else _product(product_id, version)

    @override
    async def list_all(self) -> Sequence[Product]:
        versions = dict(self.products)
        await self._reply("catalog")
        if not versions:
            raise CatalogUnavailable("Nothing there", retry_after=make.SECOND)
        self.denied.update(product_id for product_id in IDS if product_id not in versions)
        return [_product(product_id, version) for product_id, version in versions.items()]

    async def _reply(self, call: str) -> None:
        before, now = self.asked_at.get(call), self._clock()
        assert before is None or now - before >= LEAST_GAP, f"Called too often for {call}"
        self.asked_at[call] = now
        down = self.down
        await self.may_reply.wait()
        if down:
            raise CatalogUnavailable("The catalog is down", retry_after=make.SECOND)


def _product(product_id: ProductId, version: int) -> Product:
    return make.product(id=product_id, title=str(version))


def _version(cached: CachedProduct) -> int:
    return int(cached.product.title)


class ReadingThroughTheCache(RuleBasedStateMachine):
    """Two processes, a catalog that changes, fails and is slow, and time."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.storage = InMemoryStorage()
        self.queries = InMemoryQueries(self.storage)
        self.tasks = (DeferredTasks(), DeferredTasks())
        self.catalog = self.runner.run(self._catalog())
        self.hot = self._hot()
        self.readers = [
            readers(
                uow=self.storage,
                queries=self.queries,
                catalog=self.catalog,
                tasks=tasks,
                clock=self.clock,
                hot=self.hot,
                sleep=self.clock.sleep,
            )
            for tasks in self.tasks
        ]
        self.versions = 0
        self.newest: Counter[ProductId] = Counter()
        self.waiting: list[asyncio.Task[None]] = []
        self.held_since: datetime | None = None

    async def _catalog(self) -> LateCatalog:
        return LateCatalog(self.clock)

    def _hot(self) -> HotProducts:
        return NullHotProducts()

    @override
    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.reply()
            self.runner.close()

    @rule(product_id=ids)
    def change(self, product_id: ProductId) -> None:
        """Add a product to the catalog, or change it."""
        self.versions += 1
        self.catalog.products[product_id] = self.versions

    @rule(product_id=ids)
    def drop(self, product_id: ProductId) -> None:
        """Remove a product from the catalog, or let it deny one for a moment."""
        self.catalog.products.pop(product_id, None)

    @rule(down=st.booleans())
    def fail(self, *, down: bool) -> None:
        """Begin or end an outage."""
        self.catalog.down = down

    @precondition(lambda self: self.held_since is None)
    @rule()
    def slow_down(self) -> None:
        """Let replies wait from now on."""
        self.catalog.may_reply.clear()
        self.held_since = self.clock()

    @rule()
    def reply(self) -> None:
        """Let all replies arrive."""
        self.held_since = None
        self.runner.run(self._reply())

    async def _reply(self) -> None:
        self.catalog.may_reply.set()
        await asyncio.gather(*self.waiting)
        self.waiting.clear()

    @rule(
        by=st.sampled_from(
            [
                make.SECOND,
                POLICY.lease,
                POLICY.backoff,
                POLICY.negative_ttl,
                POLICY.soft_ttl,
                POLICY.hard_ttl,
            ]
        )
    )
    def wait(self, by: timedelta) -> None:
        """Let time pass; the adapter bounds the duration of a call."""
        if self.held_since and self.clock() + by > self.held_since + AS_LONG_AS_A_CALL_LASTS:
            self.reply()
        self.clock.advance(by)

    @rule(process=processes, product_id=ids)
    def read(self, process: int, product_id: ProductId) -> None:
        """Read a product, and check the answer when it comes."""
        self._go_on(self._read(self.readers[process].products, product_id))

    async def _read(self, reader: ProductReader, product_id: ProductId) -> None:
        newest = self.newest[product_id]
        before = await self._row(product_id)
        try:
            reading = await reader.read(product_id)
        except (ProductNotFound, CatalogUnavailable):
            after = await self._row(product_id)
            was_known = isinstance(before, CachedProduct) and not before.removed
            is_removed = isinstance(after, CachedProduct) and after.removed
            assert not was_known or is_removed, "A known product could not be read"
        else:
            self._served(reading, at_least=newest)

    def _served(self, reading: ProductReading, *, at_least: int) -> None:
        product_id, version = reading.cached.product.id, _version(reading.cached)
        assert version >= at_least, "An older copy was served after a newer one"
        self.newest[product_id] = max(self.newest[product_id], version)

    @rule(process=processes)
    def list_page(self, process: int) -> None:
        """List the catalog."""
        self._go_on(self._list(self.readers[process].catalog))

    async def _list(self, reader: CatalogReader) -> None:
        known = await self._known()
        try:
            await reader.list_page(ProductQuery())
        except CatalogUnavailable:
            assert not known, "Known products could not be listed"

    @rule(process=processes)
    def refresh_soon(self, process: int) -> None:
        """List favorites: all that is known."""
        self.readers[process].products.refresh_soon(self.runner.run(self._known()))

    @rule(process=processes)
    def run(self, process: int) -> None:
        """Run the background tasks."""
        self._go_on(self.tasks[process].run())

    @invariant()
    def a_product_is_removed_by_two_sources(self) -> None:
        """Check what the rows hold."""
        for product_id in IDS:
            row = self.runner.run(self._row(product_id))
            if isinstance(row, CachedProduct) and row.removed:
                assert self.catalog.denied[product_id] >= 2

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        self.runner.run(self._begin(work))

    async def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.waiting.append(asyncio.ensure_future(work))
        await turns()
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            await task

    async def _row(self, product_id: ProductId) -> object:
        async with self.storage() as work:
            return await work.products.get(product_id)

    async def _known(self) -> Sequence[CachedProduct]:
        return (await self.queries.list_products(ProductQuery())).page.items


class ReadingThroughTheHotTier(ReadingThroughTheCache):
    """The same with a hot tier, which may forget everything at any time."""

    @override
    def _hot(self) -> HotProducts:
        return InMemoryHotProducts(self.clock)

    @rule()
    def flush(self) -> None:
        """Forget."""
        assert isinstance(self.hot, InMemoryHotProducts)
        self.hot.flush()


TestReadingThroughTheCache = ReadingThroughTheCache.TestCase
TestReadingThroughTheCache.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestReadingThroughTheHotTier = ReadingThroughTheHotTier.TestCase
TestReadingThroughTheHotTier.settings = TestReadingThroughTheCache.settings
