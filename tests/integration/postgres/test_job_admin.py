"""Retrying dead letters, also if an equal job is already queued."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.outcome import StorageUnavailable
from app.infra.jobs.outcome import JobNotRetryable
from app.infra.jobs.queue import JobAdmin, RetryResult, create_queue, open_job_admin
from app.infra.jobs.tasks import CATALOG_QUEUE
from tests.integration.service.harness import until

Enqueue = Callable[[int], Awaitable[None]]
CreateDeadLetter = Callable[[int], Awaitable[int]]

TERMINATE_BLOCKED = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
""")
FIRST, SECOND = 1, 2


@pytest_asyncio.fixture
async def admin(database_url: str) -> AsyncGenerator[JobAdmin]:
    async with open_job_admin(database_url) as admin:
        yield admin


@pytest_asyncio.fixture
async def enqueue(database_url: str) -> AsyncGenerator[Enqueue]:
    """Return what enqueues a job about a product; at most one per product is queued."""
    async with create_queue(database_url).open_async() as queue:

        async def defer(product_id: int) -> None:
            name = f"validate_product:{product_id}"
            await queue.configure_task(
                "validate_product", queue=CATALOG_QUEUE, lock=name, queueing_lock=name
            ).defer_async(product_id=product_id)

        yield defer


@pytest.fixture
def create_dead_letter(
    enqueue: Enqueue, postgres_engine: AsyncEngine, admin: JobAdmin
) -> CreateDeadLetter:
    """Return what creates a failed job about a product and returns its id."""

    async def create(product_id: int) -> int:
        await enqueue(product_id)
        (queued,) = await admin.list_jobs(status="todo")
        async with postgres_engine.begin() as connection:
            await connection.execute(
                text("UPDATE procrastinate_jobs SET status = 'failed' WHERE status = 'todo'")
            )
        return queued.id

    return create


async def queued_products(admin: JobAdmin) -> Sequence[int]:
    return [job.args["product_id"] for job in await admin.list_jobs(status="todo")]


class TestJobAdmin:
    async def test_retries_dead_letters(
        self, admin: JobAdmin, create_dead_letter: CreateDeadLetter
    ) -> None:
        await create_dead_letter(FIRST)
        assert await admin.retry(await create_dead_letter(SECOND)) == RetryResult(queued=1)
        assert await queued_products(admin) == [SECOND]
        assert await admin.retry_all() == RetryResult(queued=1)
        assert await queued_products(admin) == [FIRST, SECOND]

    async def test_removes_a_dead_letter_if_an_equal_job_is_queued(
        self, admin: JobAdmin, create_dead_letter: CreateDeadLetter, enqueue: Enqueue
    ) -> None:
        dead_letter = await create_dead_letter(FIRST)
        await enqueue(FIRST)
        assert await admin.retry(dead_letter) == RetryResult(superseded=1)
        assert await admin.list_jobs(status="failed") == []
        assert await queued_products(admin) == [FIRST]

    async def test_retries_all_including_equal_ones(
        self, admin: JobAdmin, create_dead_letter: CreateDeadLetter
    ) -> None:
        for product_id in (FIRST, FIRST, SECOND):
            await create_dead_letter(product_id)
        assert await admin.retry_all() == RetryResult(queued=2, superseded=1)
        assert await admin.list_jobs(status="failed") == []
        assert await queued_products(admin) == [FIRST, SECOND]

    async def test_reports_a_lost_connection_as_such(
        self,
        database_url: str,
        postgres_engine: AsyncEngine,
        create_dead_letter: CreateDeadLetter,
    ) -> None:
        dead_letter = await create_dead_letter(FIRST)

        async def retry() -> None:
            async with open_job_admin(database_url) as admin:
                await admin.retry(dead_letter)

        async def terminated() -> bool:
            async with postgres_engine.begin() as connection:
                return bool((await connection.execute(TERMINATE_BLOCKED)).all())

        async with postgres_engine.connect() as connection:
            await connection.execute(text("LOCK TABLE procrastinate_jobs"))
            task = asyncio.create_task(retry())
            await until(terminated, what="terminating the connection")
            with pytest.raises(StorageUnavailable):
                await task

    async def test_rejects_a_job_that_has_not_failed(
        self, admin: JobAdmin, create_dead_letter: CreateDeadLetter
    ) -> None:
        dead_letter = await create_dead_letter(FIRST)
        await admin.retry(dead_letter)
        for job_id in (dead_letter, dead_letter + 1):
            with pytest.raises(JobNotRetryable):
                await admin.retry(job_id)
