"""The worker process: runs queued and periodic jobs; any number of workers may run."""

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
from opentelemetry.trace import SpanKind, Tracer
from procrastinate import JobContext, exceptions
from procrastinate.worker import Worker
from structlog.contextvars import bound_contextvars

from app.domain.outcome import DomainError
from app.infra.jobs.manager import WorkerJobManager
from app.infra.jobs.queue import create_queue
from app.infra.jobs.tasks import QUEUES, JobHandlers, register_tasks
from app.infra.observability.tracing.spans import NO_TRACER, context_of, start_span

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """
    Options of a worker.

    A worker without a heartbeat for `lease` counts as dead, and its jobs run again. After SIGTERM
    running jobs have `grace` to finish. Dead letters are deleted after `dead_letters_kept`.
    """

    concurrency: int = 8
    lease: timedelta = timedelta(seconds=15)
    grace: timedelta = timedelta(seconds=20)
    poll: timedelta = timedelta(seconds=5)
    dead_letters_kept: timedelta = timedelta(days=30)
    reconnect_after: timedelta = timedelta(seconds=1)


class JobObserver(Protocol):
    """Counts job runs and heartbeats; must not block and must not raise."""

    def worker_started(self, lease: timedelta) -> None:
        """Begin to watch for heartbeats; without one for a lease the worker counts as dead."""

    def heartbeat(self) -> None:
        """Note that the worker has updated its heartbeat in the database."""

    def register(self, task: str) -> None:
        """Announce a task before its first run."""

    def __call__(self, *, task: str, succeeded: bool, given_up: bool, duration_s: float) -> None:
        """
        Count a finished run; a canceled run has not succeeded.

        `given_up` if the run failed and is not retried: the job is a dead letter.
        """


class JobWorker:
    """
    Runs jobs until `stop`; reconnects when the database comes back.

    A job continues the trace that it was enqueued in, and starts a new one if it has none.
    """

    def __init__(
        self,
        conninfo: str,
        handlers: JobHandlers,
        options: WorkerOptions,
        *,
        observe: JobObserver,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._conninfo = conninfo
        self._handlers = handlers
        self._options = options
        self._observe = observe
        self._tracer = tracer
        self._stopping = asyncio.Event()
        self._run: asyncio.Task[None] | None = None
        # procrastinate's own event of a failed job contains its arguments; we log `job_failed`.
        logging.getLogger("procrastinate.worker").addFilter(_is_not_job_error)

    def stop(self) -> None:
        """Take no more jobs; `run` returns when the running ones have finished."""
        self._stopping.set()
        if self._run is not None:
            self._run.cancel()

    async def run(self) -> None:
        """Run jobs until `stop`; while the database is unreachable, try to connect again."""
        self._observe.worker_started(self._options.lease)
        while not self._stopping.is_set():
            self._run = asyncio.create_task(self._work(), name="job-worker")
            with suppress(asyncio.CancelledError):
                await self._run
            if not self._stopping.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._options.reconnect_after.total_seconds()):
                        await self._stopping.wait()

    async def _work(self) -> None:
        app = self._create_app()
        # Before connecting: an alert on job runs needs the series of a worker that never connects.
        for task in (task for task in app.tasks.values() if task.queue in QUEUES):
            self._observe.register(task.name)
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
                    worker_middleware=[self._trace, self._report],
                )
            finally:
                # Also if canceled while connecting: the pool's tasks would wait for a server that
                # may never answer.
                await app.close_async()
            logger.warning("worker_lost_database")
        except (exceptions.ConnectorException, psycopg.Error, OSError) as error:
            logger.warning("worker_lost_database", extra={"reason": type(error).__name__})

    async def _trace(
        self, run: Callable[[], Awaitable[object]], context: JobContext, _: Worker
    ) -> object:
        job = context.job
        traceparent = job.task_kwargs.get("traceparent")
        with start_span(
            self._tracer,
            f"process {job.task_name}",
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "procrastinate",
                "messaging.operation.type": "process",
                "messaging.destination.name": job.queue,
                "messaging.message.id": str(job.id),
                "attempt": job.attempts + 1,
            },
            parent=context_of(traceparent if isinstance(traceparent, str) else None),
        ):
            return await run()

    async def _report(
        self, run: Callable[[], Awaitable[object]], context: JobContext, _: Worker
    ) -> object:
        job = context.job
        started = perf_counter()
        succeeded = given_up = False
        # `jobs list` shows the id; it leads to every line that the job logs.
        with bound_contextvars(task=job.task_name, job_id=job.id):
            try:
                result = await run()
            except Exception as error:
                given_up = _is_last_attempt(error, context)
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
                    duration_s=perf_counter() - started,
                )

    def _create_app(self) -> procrastinate.App:
        app = create_queue(self._conninfo, pool_size=self._options.concurrency + 2)
        app.job_manager = WorkerJobManager(app.connector, on_heartbeat=self._observe.heartbeat)
        register_tasks(
            app,
            self._handlers,
            lease=self._options.lease,
            dead_letters_kept=self._options.dead_letters_kept,
        )
        return app


def _is_last_attempt(error: Exception, context: JobContext) -> bool:
    task = context.app.tasks.get(context.job.task_name)
    return task is None or task.get_retry_exception(error, context.job) is None


def _log_failure(error: Exception, *, attempt: int, given_up: bool) -> None:
    reason = error.code if isinstance(error, DomainError) else type(error).__name__
    fields = {"attempt": attempt, "reason": reason, "given_up": given_up}
    if isinstance(error, DomainError | exceptions.ProcrastinateException):
        logger.warning("job_failed", extra=fields)
    else:
        # Neither a known outcome nor a failure of the queue: a bug.
        logger.error("job_failed", extra=fields, exc_info=error)


def _is_not_job_error(record: logging.LogRecord) -> bool:
    return getattr(record, "action", None) != "job_error"
