"""Dead letters are run again, also when the same work has been asked for meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.job import Job, ValidateProduct
from app.domain.outcome import StorageUnavailable
from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory
from app.infra.jobs.outcome import JobNotRetryable
from app.infra.jobs.queue import JobDesk, Retried, job_desk
from tests.contract.step import do
from tests.integration.service.harness import until

WaitingJobs = Callable[[], Awaitable[Sequence[Job]]]

CUT_OFF = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
""")
FIRST, SECOND = (ValidateProduct(product_id=ProductId(number)) for number in (1, 2))


@pytest_asyncio.fixture
async def desk(database_url: str) -> AsyncGenerator[JobDesk]:
    async with job_desk(database_url) as desk:
        yield desk


@pytest.fixture
def fail(
    postgres_uow: UnitOfWorkFactory, postgres_engine: AsyncEngine, desk: JobDesk
) -> Callable[[Job], Awaitable[int]]:
    """Return what leaves a dead letter and tells its id."""

    async def failed(job: Job) -> int:
        await do(postgres_uow, lambda work: work.jobs.enqueue(job))
        (waiting,) = await desk.list_jobs(status="todo")
        async with postgres_engine.begin() as connection:
            await connection.execute(
                text("UPDATE procrastinate_jobs SET status = 'failed' WHERE status = 'todo'")
            )
        return waiting.id

    return failed


class TestJobDesk:
    async def test_runs_dead_letters_again(
        self,
        desk: JobDesk,
        fail: Callable[[Job], Awaitable[int]],
        postgres_waiting_jobs: WaitingJobs,
    ) -> None:
        await fail(FIRST)
        assert await desk.retry(await fail(SECOND)) == Retried(again=1)
        assert await postgres_waiting_jobs() == [SECOND]
        assert await desk.retry_all() == Retried(again=1)
        assert await postgres_waiting_jobs() == [FIRST, SECOND]

    async def test_removes_a_dead_letter_whose_work_waits_already(
        self,
        desk: JobDesk,
        fail: Callable[[Job], Awaitable[int]],
        postgres_uow: UnitOfWorkFactory,
        postgres_waiting_jobs: WaitingJobs,
    ) -> None:
        dead = await fail(FIRST)
        await do(postgres_uow, lambda work: work.jobs.enqueue(FIRST))
        assert await desk.retry(dead) == Retried(superseded=1)
        assert await desk.list_jobs(status="failed") == []
        assert await postgres_waiting_jobs() == [FIRST]

    async def test_runs_all_again_where_some_do_the_same(
        self,
        desk: JobDesk,
        fail: Callable[[Job], Awaitable[int]],
        postgres_waiting_jobs: WaitingJobs,
    ) -> None:
        for job in (FIRST, FIRST, SECOND):
            await fail(job)
        assert await desk.retry_all() == Retried(again=2, superseded=1)
        assert await desk.list_jobs(status="failed") == []
        assert await postgres_waiting_jobs() == [FIRST, SECOND]

    async def test_does_not_blame_a_job_for_the_loss_of_the_database(
        self,
        database_url: str,
        postgres_engine: AsyncEngine,
        fail: Callable[[Job], Awaitable[int]],
    ) -> None:
        dead = await fail(FIRST)

        async def retried() -> None:
            async with job_desk(database_url) as desk:
                await desk.retry(dead)

        async def cut_off() -> bool:
            async with postgres_engine.begin() as connection:
                return bool((await connection.execute(CUT_OFF)).all())

        async with postgres_engine.connect() as connection:
            await connection.execute(text("LOCK TABLE procrastinate_jobs"))
            retry = asyncio.create_task(retried())
            await until(cut_off, what="cutting it off")
            with pytest.raises(StorageUnavailable):
                await retry

    async def test_refuses_what_has_not_failed(
        self, desk: JobDesk, fail: Callable[[Job], Awaitable[int]]
    ) -> None:
        dead = await fail(FIRST)
        await desk.retry(dead)
        for job_id in (dead, dead + 1):
            with pytest.raises(JobNotRetryable):
                await desk.retry(job_id)
