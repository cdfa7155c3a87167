"""What a worker logs and counts, with jobs in a real queue."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import pytest

from app.domain.product import ProductId
from app.infra.jobs.queue import create_queue
from app.infra.jobs.tasks import CATALOG_QUEUE, JobHandlers
from app.infra.jobs.worker import JobWorker, WorkerOptions
from tests.integration.service.harness import until

LOGGER = "app.infra.jobs.worker"
STOP_S = 20.0


@dataclass
class Observer:
    """Keeps the runs of one task."""

    task: str = "validate_product"
    runs: list[tuple[bool, bool]] = field(default_factory=list)

    def worker_started(self, lease: timedelta) -> None:
        pass

    def heartbeat(self) -> None:
        pass

    def register(self, task: str) -> None:
        pass

    def __call__(self, *, task: str, succeeded: bool, given_up: bool, duration_s: float) -> None:
        if task == self.task:
            self.runs.append((succeeded, given_up))


async def nothing(*_: object) -> None:
    pass


@asynccontextmanager
async def working(
    conninfo: str,
    observer: Observer,
    *,
    validate_product: Callable[[ProductId], Awaitable[None]] = nothing,
) -> AsyncGenerator[JobWorker]:
    worker = JobWorker(
        conninfo,
        JobHandlers(
            validate_product=validate_product,
            refresh_favorited=nothing,
            reconcile_popularity=nothing,
            purge=nothing,
        ),
        WorkerOptions(reconnect_after=timedelta(0)),
        observe=observer,
    )
    run = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        # A worker whose connections were closed while it started may not end by itself.
        _, running = await asyncio.wait({run}, timeout=STOP_S)
        for task in running:
            task.cancel()
            await asyncio.wait({task})


def events(caplog: pytest.LogCaptureFixture, event: str) -> list[logging.LogRecord]:
    return [
        line for line in caplog.records if line.name.startswith("app.") and line.message == event
    ]


async def test_a_job_that_fails_by_a_bug_is_logged_with_its_stack_and_retried(
    new_database: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    url, observer = new_database(migrated=True), Observer()
    async with create_queue(url).open_async() as queue:
        await queue.configure_task("validate_product", queue=CATALOG_QUEUE).defer_async(
            product_id=5
        )
    caplog.set_level(logging.INFO, LOGGER)

    async def fail(_: ProductId) -> None:
        raise LookupError("gone")

    async def failed() -> bool:
        return bool(observer.runs)

    async with working(url, observer, validate_product=fail):
        await until(failed, what="the run")
    assert len(events(caplog, "worker_started")) == 1
    line = events(caplog, "job_failed")[0]
    fields = vars(line)
    assert line.levelno == logging.ERROR
    assert (fields["attempt"], fields["reason"], fields["given_up"]) == (1, "LookupError", False)
    assert line.exc_info is not None
    assert isinstance(line.exc_info[1], LookupError)
    assert observer.runs[0] == (False, False)


async def test_a_worker_whose_connections_are_closed_logs_it_and_reconnects(
    new_database: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    url = new_database(migrated=True)
    caplog.set_level(logging.INFO, LOGGER)
    async with working(url, Observer()):

        async def started() -> bool:
            return len(events(caplog, "worker_started")) == 1

        async def lost() -> bool:
            if not events(caplog, "worker_lost_database"):
                _close_connections(url)
            return bool(events(caplog, "worker_lost_database"))

        async def started_again() -> bool:
            return len(events(caplog, "worker_started")) > 1

        await until(started, what="the start")
        await until(lost, what="the loss of the database")
        await until(started_again, what="the second start")
    assert {line.levelno for line in events(caplog, "worker_lost_database")} == {logging.WARNING}


def _close_connections(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'favorites-worker'"
        )
