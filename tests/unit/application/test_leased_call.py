"""What `LeasedCalls` does between looking and asking, with a question of its own."""

import asyncio
from datetime import datetime

from typing_extensions import override

from app.application.catalog.cache_observer import NullCacheObserver
from app.application.catalog.cache_refresh import Known, ProductQuestion, Question
from app.application.catalog.cache_refresher import Answer, LeasedCalls
from app.application.catalog.hot_products import HotProducts, NullHotProducts
from app.application.ports import ProductCatalog
from app.domain.product import RefreshState
from app.domain.repository import ProductRepository, UnitOfWork, UnitOfWorkFactory
from tests import make
from tests.double.catalog import StubCatalog
from tests.double.clock import ManualClock
from tests.double.storage import InMemoryStorage


class OvertakenQuestion(Question[str, str]):
    """A question that another process answers between our look and our claim."""

    whole = False

    def __init__(self) -> None:
        self.stored: str | None = None
        self.asked = 0

    @property
    @override
    def key(self) -> str:
        return "question"

    @override
    async def look(self, products: ProductRepository, *, now: datetime) -> Known[str]:
        return Known(answer=self.stored, refresh=RefreshState())

    @override
    async def claim(self, products: ProductRepository, *, now: datetime, until: datetime) -> bool:
        self.stored = "theirs"
        return bool(await products.claim([make.product_id()], now=now, until=until))

    @override
    async def ask(self, catalog: ProductCatalog) -> str:
        self.asked += 1
        return "ours"

    @override
    async def keep(self, products: ProductRepository, reply: str, *, asked_at: datetime) -> str:
        return reply

    @override
    async def spread(self, hot: HotProducts, reply: str, answer: str) -> None:
        pass

    @override
    def unkept(self, reply: str, *, asked_at: datetime) -> str | None:
        return reply

    @override
    async def block(self, products: ProductRepository, *, until: datetime) -> None:
        pass


def _calls(
    uow: UnitOfWorkFactory, clock: ManualClock, catalog: StubCatalog | None = None
) -> LeasedCalls:
    return LeasedCalls(
        uow=uow,
        catalog=catalog or StubCatalog(),
        clock=clock,
        policy=make.CACHE_POLICY,
        observer=NullCacheObserver(),
        hot=NullHotProducts(),
        sleep=clock.sleep,
        longest_backoff=make.MINUTE,
    )


class TestWhoeverClaims:
    async def test_looks_again_before_asking(self) -> None:
        question = OvertakenQuestion()
        calls = _calls(InMemoryStorage(), ManualClock())

        assert await calls.answer(question) == Answer(value="theirs", asked=None)
        assert question.asked == 0

    async def test_has_a_whole_lease_however_long_storage_was_waited_for(self) -> None:
        product, clock, storage = make.product(), ManualClock(), InMemoryStorage()
        catalog = StubCatalog(product)
        catalog.hold()

        def busy_storage() -> UnitOfWork:
            clock.advance(make.CACHE_POLICY.lease)
            return storage()

        question = ProductQuestion(id=product.id, policy=make.CACHE_POLICY)
        answer = asyncio.ensure_future(_calls(busy_storage, clock, catalog).answer(question))
        await catalog.asked.wait()

        async with storage() as work:
            row = await work.products.get(product.id)
        assert row is not None
        assert row.refresh == RefreshState(claimed_until=clock() + make.CACHE_POLICY.lease)
        catalog.release()
        assert isinstance(await answer, Answer)
