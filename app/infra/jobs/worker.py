"""The worker: runs the queue's jobs and the periodic ones, on any number of machines."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Protocol

import procrastinate
import psycopg
from procrastinate import JobContext, exceptions, utils
from procrastinate.worker import Worker
from structlog.contextvars import bound_contextvars

from app.application.tracer import NULL_TRACER, SpanKind, Tracer
from app.domain.outcome import DomainError, Unavailable
from app.domain.product import ProductId
from app.infra.jobs.manager import WorkerJobManager
from app.infra.jobs.queue import create_queue
from app.infra.jobs.retry import Backoff

logger = logging.getLogger(__name__)

CATALOG_QUEUE = "catalog"
UPKEEP_QUEUE = "upkeep"
QUEUES = frozenset({CATALOG_QUEUE, UPKEEP_QUEUE})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHandlers:
    """What the jobs do; each may run twice and has its effect once."""

    validate_product: Callable[[ProductId], Awaitable[None]]
    refresh_favorited: Callable[[], Awaitable[object]]
    reconcile_popularity: Callable[[], Awaitable[None]]
    purge: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """
    How a worker behaves.

    A worker that has not been heard of for `lease` is taken for dead and its jobs run again. On
    SIGTERM jobs have `grace` to finish. `kept` is how long dead letters stay.
    """

    concurrency: int = 8
    lease: timedelta = timedelta(seconds=15)
    grace: timedelta = timedelta(seconds=20)
    poll: timedelta = timedelta(seconds=5)
    kept: timedelta = timedelta(days=30)
    reconnect_after: timedelta = timedelta(seconds=1)


class JobObserver(Protocol):
    """
    Hears of each run of a job when it has ended, and that the worker lives.

    It must not block and must not raise.
    """

    def expect_beats(self, lease: timedelta) -> None:
        """Hear that a worker begins, which is taken for dead if it does not beat for a lease."""

    def beat(self) -> None:
        """Hear that the worker has told the database that it lives."""

    def expect(self, task: str) -> None:
        """Hear of a task of which there may be runs."""

    def __call__(self, *, task: str, succeeded: bool, given_up: bool, duration_s: float) -> None:
        """
        Hear of a run; one that is canceled has not succeeded.

        `given_up` if it failed and is not tried again: the job is a dead letter.
        """


class JobWorker:
    """
    Works until it is told to stop, also through restarts of the database.

    `observe` hears of every run of a job, and so does `tracer`: as a part of the trace that the
    job was enqueued in, if it carries one, otherwise as a trace of its own.
    """

    def __init__(
        self,
        conninfo: str,
        handlers: JobHandlers,
        options: WorkerOptions,
        *,
        observe: JobObserver,
        tracer: Tracer = NULL_TRACER,
    ) -> None:
        self._conninfo = conninfo
        self._handlers = handlers
        self._options = options
        self._observe = observe
        self._tracer = tracer
        self._stopping = asyncio.Event()
        self._run: asyncio.Task[None] | None = None
        # What the library says of a job that failed has its arguments for a name, and no trace.
        logging.getLogger("procrastinate.worker").addFilter(_is_not_ours_to_tell)

    def stop(self) -> None:
        """Take no more jobs; `run` returns when those under way have finished."""
        self._stopping.set()
        if self._run is not None:
            self._run.cancel()

    async def run(self) -> None:
        """Work until `stop`; while the database is away, wait for it."""
        self._observe.expect_beats(self._options.lease)
        while not self._stopping.is_set():
            self._run = asyncio.create_task(self._work(), name="job-worker")
            with suppress(asyncio.CancelledError):
                await self._run
            if not self._stopping.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._options.reconnect_after.total_seconds()):
                        await self._stopping.wait()

    async def _work(self) -> None:
        app = self._app()
        # Also for a worker that never gets to its database: it is to be seen to run nothing.
        for task in (task for task in app.tasks.values() if task.queue in QUEUES):
            self._observe.expect(task.name)
        try:
            try:
                await app.open_async()
                logger.info("worker_started")
                await app.run_worker_async(
                    concurrency=self._options.concurrency,
                    fetch_job_polling_interval=self._options.poll.total_seconds(),
                    shutdown_graceful_timeout=self._options.grace.total_seconds(),
                    update_heartbeat_interval=self._options.lease.total_seconds() / 3,
                    stalled_worker_timeout=self._options.lease.total_seconds(),
                    delete_jobs="successful",
                    install_signal_handlers=False,
                    worker_middleware=[self._trace, self._tell],
                )
            finally:
                # Also when asked to stop while it connects: nobody else ends the pool's tasks,
                # and those wait for an answer that may never come.
                await app.close_async()
            logger.warning("worker_lost_database")
        except (exceptions.ConnectorException, psycopg.Error, OSError) as error:
            logger.warning("worker_lost_database", extra={"reason": type(error).__name__})

    async def _trace(
        self, run: Callable[[], Awaitable[object]], context: JobContext, _: Worker
    ) -> object:
        job = context.job
        carried = job.task_kwargs.get("traceparent")
        with self._tracer.span(
            f"process {job.task_name}",
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "procrastinate",
                "messaging.operation.type": "process",
                "messaging.destination.name": job.queue,
                "messaging.message.id": str(job.id),
                "attempt": job.attempts + 1,
            },
            within=carried if isinstance(carried, str) else None,
        ):
            return await run()

    async def _tell(
        self, run: Callable[[], Awaitable[object]], context: JobContext, _: Worker
    ) -> object:
        job = context.job
        began = perf_counter()
        succeeded = given_up = False
        # By the id that `jobs list` shows, everything that is logged meanwhile is found.
        with bound_contextvars(task=job.task_name, job_id=job.id):
            try:
                result = await run()
            except Exception as error:
                given_up = _is_last(error, context)
                _log_failure(error, attempt=job.attempts + 1, given_up=given_up)
                raise
            else:
                succeeded = True
                return result
            finally:
                self._observe(
                    task=job.task_name,
                    succeeded=succeeded,
                    given_up=given_up,
                    duration_s=perf_counter() - began,
                )

    def _app(self) -> procrastinate.App:
        app = create_queue(self._conninfo, pool_size=self._options.concurrency + 2)
        app.job_manager = WorkerJobManager(app.connector, beat=self._observe.beat)
        handlers, options = self._handlers, self._options

        @app.task(name="validate_product", queue=CATALOG_QUEUE, retry=Backoff())
        async def validate_product(
            product_id: int,
            traceparent: str | None = None,  # noqa: ARG001  # read around the run
        ) -> None:
            await handlers.validate_product(ProductId(product_id))

        @app.periodic(cron="* * * * * */10")
        @app.task(name="refresh_favorited", queue=UPKEEP_QUEUE, queueing_lock="refresh_favorited")
        async def refresh_favorited(timestamp: int) -> None:  # noqa: ARG001  # procrastinate's
            # The next run is the retry: a failed one would only litter the dead letters.
            try:
                await handlers.refresh_favorited()
            except Unavailable as outcome:
                logger.warning("refresh_favorited_failed", extra={"reason": outcome.code})

        # Not when everybody else's hourly work begins.
        @app.periodic(cron="17 * * * *")
        @app.task(
            name="reconcile_popularity", queue=UPKEEP_QUEUE, queueing_lock="reconcile_popularity"
        )
        async def reconcile_popularity(timestamp: int) -> None:  # noqa: ARG001  # procrastinate's
            try:
                await handlers.reconcile_popularity()
            except Unavailable as outcome:
                logger.warning("reconcile_popularity_failed", extra={"reason": outcome.code})

        @app.periodic(cron="* * * * *")
        @app.task(name="purge", queue=UPKEEP_QUEUE, queueing_lock="purge")
        async def purge(timestamp: int) -> None:  # noqa: ARG001  # procrastinate's
            try:
                await handlers.purge()
            except Unavailable as outcome:
                logger.warning("purge_failed", extra={"reason": outcome.code})
            await app.job_manager.delete_old_jobs(
                nb_hours=int(options.kept / timedelta(hours=1)),
                include_failed=True,
                include_aborted=True,
                include_cancelled=True,
            )

        @app.periodic(cron="* * * * * */5")
        @app.task(name="retry_stalled", queue=UPKEEP_QUEUE, queueing_lock="retry_stalled")
        async def retry_stalled(timestamp: int) -> None:  # noqa: ARG001  # procrastinate's
            lease_s = options.lease.total_seconds()
            for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=lease_s):
                logger.warning("job_stalled", extra={"job_id": job.id, "task": job.task_name})
                await app.job_manager.retry_job(job, retry_at=utils.utcnow())
            await app.job_manager.prune_stalled_workers(lease_s)

        return app


def _is_last(error: Exception, context: JobContext) -> bool:
    """Tell whether a job that failed is not tried again."""
    task = context.app.tasks.get(context.job.task_name)
    return task is None or task.get_retry_exception(error, context.job) is None


def _log_failure(error: Exception, *, attempt: int, given_up: bool) -> None:
    reason = error.code if isinstance(error, DomainError) else type(error).__name__
    told = {"attempt": attempt, "reason": reason, "given_up": given_up}
    if isinstance(error, DomainError | exceptions.ProcrastinateException):
        logger.warning("job_failed", extra=told)
    else:
        # Neither an outcome nor the queue's own trouble, and so a bug.
        logger.error("job_failed", extra=told, exc_info=error)


def _is_not_ours_to_tell(record: logging.LogRecord) -> bool:
    return getattr(record, "action", None) != "job_error"
