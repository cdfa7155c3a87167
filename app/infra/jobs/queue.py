"""The queue as its own operators see it: procrastinate on the service's PostgreSQL."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import procrastinate
from procrastinate import exceptions, utils
from procrastinate.jobs import Job as QueuedJob
from procrastinate.jobs import Status
from procrastinate.manager import JobManager
from procrastinate.psycopg_connector import PsycopgConnector
from typing_extensions import override

from app.infra.jobs.outcome import JobNotRetryable


class _CollapsingJobManager(JobManager):
    """
    Lets a job give way to another of the same kind that waits already.

    At most one job of a queueing lock waits. One that runs while another is enqueued cannot go
    back to waiting when it fails, and need not: the other one does the same work.
    """

    @override
    async def retry_job_by_id_async(
        self,
        job_id: int,
        retry_at: datetime,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        try:
            await super().retry_job_by_id_async(
                job_id=job_id, retry_at=retry_at, priority=priority, queue=queue, lock=lock
            )
        except exceptions.UniqueViolation:
            await self.finish_job_by_id_async(
                job_id=job_id, status=Status.SUCCEEDED, delete_job=True
            )


def create_queue(conninfo: str, *, pool_size: int = 4) -> procrastinate.App:
    """Make the queue's application; it connects when it is opened."""
    app = procrastinate.App(
        connector=PsycopgConnector(
            conninfo=conninfo,
            min_size=1,
            max_size=pool_size,
            # Fail while the database is away instead of waiting for half a minute.
            timeout=5,
            # Prepared statements do not survive a transaction pooler.
            kwargs={"prepare_threshold": None, "application_name": "favorites-worker"},
        )
    )
    app.job_manager = _CollapsingJobManager(app.connector)
    return app


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as an operator sees it; `attempts` counts the times it was begun and failed."""

    id: int
    task: str
    args: dict[str, Any]
    status: str
    attempts: int
    scheduled_at: datetime | None


class JobDesk:
    """Where operators look at jobs and run dead letters again."""

    def __init__(self, app: procrastinate.App) -> None:
        self._manager = app.job_manager

    async def list_jobs(self, *, status: str | None) -> Sequence[JobView]:
        """Return the jobs of a status (`todo`, `doing`, `failed`, …) or all, oldest first."""
        return [_view(job) for job in await self._manager.list_jobs_async(status=status)]

    async def retry(self, job_id: int) -> None:
        """
        Run a failed job again, at once.

        :raises JobNotRetryable: if there is no such job or it has not failed
        """
        try:
            await self._manager.retry_job_by_id_async(job_id=job_id, retry_at=utils.utcnow())
        except exceptions.ConnectorException as error:
            raise JobNotRetryable(f"Job {job_id} does not exist or has not failed") from error

    async def retry_all(self) -> int:
        """Run all failed jobs again, at once; tell how many."""
        failed = list(await self._manager.list_jobs_async(status=Status.FAILED.value))
        for job in failed:
            if job.id is not None:
                await self.retry(job.id)
        return len(failed)


def _view(job: QueuedJob) -> JobView:
    return JobView(
        id=job.id or 0,
        task=job.task_name,
        args=dict(job.task_kwargs),
        status=job.status or "",
        attempts=job.attempts,
        scheduled_at=job.scheduled_at,
    )


@asynccontextmanager
async def job_desk(conninfo: str) -> AsyncGenerator[JobDesk]:
    """Open the desk on a database."""
    async with create_queue(conninfo, pool_size=1).open_async() as app:
        yield JobDesk(app)
