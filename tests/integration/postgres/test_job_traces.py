"""Jobs carry the trace of the request that enqueued them."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.customer import CustomerId
from app.domain.favorite import Favorite
from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import FavoriteLimits
from app.infra.observability.tracing.spans import start_span
from app.infra.postgres.favorite_writes import PostgresFavoriteWrites
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.statement_pool import StatementPool
from tests import make
from tests.database import PATIENT, postgres_pool
from tests.recorder import SpanRecorder, parent_id

NAME = "send validate_product"


@pytest_asyncio.fixture
async def pool(database_url: str, postgres_engine: AsyncEngine) -> AsyncGenerator[StatementPool]:
    async with postgres_pool(database_url) as pool:
        yield pool


@pytest.fixture
def recorder() -> SpanRecorder:
    return SpanRecorder()


@pytest_asyncio.fixture
async def writes(
    pool: StatementPool, recorder: SpanRecorder
) -> AsyncGenerator[PostgresFavoriteWrites]:
    row_cache = ProductRowCache(pool.fetch)
    writes = PostgresFavoriteWrites(pool, row_cache, patience=PATIENT, tracer=recorder.tracer)
    yield writes
    await writes.aclose()


@pytest.fixture
def arguments(pool: StatementPool) -> Callable[[], Awaitable[list[Any]]]:
    """Return what reads the product and the traceparent of each job, first enqueued first."""

    async def read() -> list[Any]:
        rows = await pool.fetch(
            "SELECT (args ->> 'product_id')::integer, args ->> 'traceparent',"
            " args - 'product_id' - 'traceparent' FROM procrastinate_jobs ORDER BY id"
        )
        assert all(rest == "{}" for _, _, rest in rows)
        return [(product_id, traceparent) for product_id, traceparent, _ in rows]

    return read


async def stored_customer(uow: UnitOfWorkFactory) -> CustomerId:
    customer = make.customer()
    async with uow() as work:
        await work.customers.add(customer)
        await work.commit()
    return customer.id


def pending(customer_id: CustomerId, product_id: ProductId) -> Favorite:
    return make.favorite(customer_id=customer_id, product_id=product_id, when_favorited=None)


class TestJobsOfPendingFavorites:
    async def test_continue_the_trace_of_the_request(
        self,
        postgres_uow: UnitOfWorkFactory,
        recorder: SpanRecorder,
        writes: PostgresFavoriteWrites,
        arguments: Callable[[], Awaitable[list[Any]]],
    ) -> None:
        customer_id, product_id = await stored_customer(postgres_uow), make.product_id()
        with start_span(recorder.tracer, "request"):
            await writes.add(pending(customer_id, product_id), limits=make.LIMITS)
        sent, request = recorder.only(NAME), recorder.only("request")
        assert sent.kind.name == "PRODUCER"
        assert sent.attributes == {
            "messaging.system": "procrastinate",
            "messaging.operation.type": "send",
            "messaging.destination.name": "catalog",
            "product_id": product_id,
        }
        assert request.context is not None
        assert parent_id(sent) == request.context.span_id
        [(enqueued, traceparent)] = await arguments()
        assert enqueued == product_id
        assert sent.context is not None
        assert traceparent.split("-")[1:3] == [
            f"{sent.context.trace_id:032x}",
            f"{sent.context.span_id:016x}",
        ]

    async def test_of_a_batch_have_a_span_each(
        self,
        postgres_uow: UnitOfWorkFactory,
        recorder: SpanRecorder,
        writes: PostgresFavoriteWrites,
        arguments: Callable[[], Awaitable[list[Any]]],
    ) -> None:
        one, other = [await stored_customer(postgres_uow) for _ in range(2)]
        ids = [make.product_id() for _ in range(3)]
        await writes.add(pending(one, ids[1]), limits=make.LIMITS)
        with start_span(recorder.tracer, "request"):
            await writes.change(
                other,
                add={
                    **{product_id: pending(other, product_id) for product_id in ids},
                    ProductId(5): make.favorite(customer_id=other, product_id=5),
                },
                now=make.NOW,
                limits=FavoriteLimits(total=9, pending=2),
            )
        first, *batch = [span.attributes or {} for span in recorder.spans if span.name == NAME]
        assert [a["product_id"] for a in (first, *batch)] == [ids[1], ids[0], ids[1]]
        # The last one would be too many.
        assert [a.get("waits_already") for a in (first, *batch)] == [None, None, True]
        assert [product_id for product_id, _ in await arguments()] == [ids[1], ids[0]]

    async def test_of_a_restored_favorite_have_a_span_too(
        self,
        postgres_uow: UnitOfWorkFactory,
        recorder: SpanRecorder,
        writes: PostgresFavoriteWrites,
    ) -> None:
        customer_id = await stored_customer(postgres_uow)
        confirmed = make.favorite(customer_id=customer_id)
        waits = pending(customer_id, make.product_id())
        for favorite in (confirmed, waits):
            await writes.add(favorite, limits=make.LIMITS)
            await writes.remove(customer_id, favorite.product_id, now=make.NOW)
            await writes.restore(
                customer_id, favorite.product_id, removed_since=make.NOW, limits=make.LIMITS
            )
        assert recorder.names == [NAME, NAME]
        assert (recorder.spans[-1].attributes or {})["waits_already"] is True

    async def test_that_are_not_enqueued_have_no_span(
        self,
        postgres_uow: UnitOfWorkFactory,
        recorder: SpanRecorder,
        writes: PostgresFavoriteWrites,
        arguments: Callable[[], Awaitable[list[Any]]],
    ) -> None:
        customer_id, product_id = await stored_customer(postgres_uow), make.product_id()
        favorite = pending(customer_id, product_id)
        none = FavoriteLimits(total=9, pending=0)
        with start_span(recorder.tracer, "request"):
            await writes.add(favorite, limits=none)
            await writes.add(make.favorite(customer_id=customer_id), limits=none)
            await writes.change(
                customer_id,
                add={product_id: favorite},
                now=make.NOW,
                limits=make.LIMITS,
                dry_run=True,
            )
        assert recorder.names == ["request"]
        assert await arguments() == []

    async def test_have_only_their_product_without_a_trace(
        self,
        postgres_uow: UnitOfWorkFactory,
        pool: StatementPool,
        arguments: Callable[[], Awaitable[list[Any]]],
    ) -> None:
        writes = PostgresFavoriteWrites(pool, ProductRowCache(pool.fetch), patience=PATIENT)
        customer_id, product_id = await stored_customer(postgres_uow), make.product_id()
        await writes.add(pending(customer_id, product_id), limits=make.LIMITS)
        [args] = await pool.fetch("SELECT args::text FROM procrastinate_jobs")
        assert args[0] == f'{{"product_id": {product_id}}}'
        assert await arguments() == [(product_id, None)]
        await writes.aclose()
