"""The queue as its own operators see it: procrastinate on the service's PostgreSQL."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import procrastinate
import psycopg
from procrastinate import exceptions, utils
from procrastinate.jobs import Job as QueuedJob
from procrastinate.jobs import Status
from procrastinate.psycopg_connector import PsycopgConnector

from app.domain.outcome import StorageUnavailable
from app.infra.jobs.outcome import JobNotRetryable

# One that was retried or removed in between is not `failed` any more, and stays what it is.
_REMOVE = "DELETE FROM procrastinate_jobs WHERE id = %(job_id)s AND status = 'failed'"


def create_queue(conninfo: str, *, pool_size: int = 4) -> procrastinate.App:
    """Make the queue's application; it connects when it is opened."""
    return procrastinate.App(
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


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as an operator sees it; `attempts` counts the times it was begun and failed."""

    id: int
    task: str
    args: dict[str, Any]
    status: str
    attempts: int
    scheduled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """What became of dead letters: run `again`, or `superseded` by jobs that waited already."""

    again: int = 0
    superseded: int = 0


class JobDesk:
    """
    Where operators look at jobs and run dead letters again.

    At most one job of a queueing lock waits. A dead letter of which there is one need not go back
    to waiting, and cannot: the other one does the same work, and the dead letter is removed.
    """

    def __init__(self, app: procrastinate.App) -> None:
        self._manager = app.job_manager
        self._connector = app.connector

    async def list_jobs(self, *, status: str | None) -> Sequence[JobView]:
        """Return the jobs of a status (`todo`, `doing`, `failed`, …) or all, oldest first."""
        return [_view(job) for job in await self._manager.list_jobs_async(status=status)]

    async def retry(self, job_id: int) -> Retried:
        """
        Run a failed job again, at once.

        :raises JobNotRetryable: if there is no such job or it has not failed
        """
        try:
            await self._manager.retry_job_by_id_async(job_id=job_id, retry_at=utils.utcnow())
        except exceptions.UniqueViolation:
            await self._connector.execute_query_async(_REMOVE, job_id=job_id)
            return Retried(superseded=1)
        except exceptions.ConnectorException as error:
            # What the library's own function raises is about the job.
            if not isinstance(error.__cause__, psycopg.errors.RaiseException):
                raise
            raise JobNotRetryable(f"Job {job_id} does not exist or has not failed") from error
        return Retried(again=1)

    async def retry_all(self) -> Retried:
        """Run all failed jobs again, at once."""
        again = superseded = 0
        for job in await self._manager.list_jobs_async(status=Status.FAILED.value):
            # Somebody else may have retried it meanwhile, or its time was over.
            with suppress(JobNotRetryable):
                done = await self.retry(job.id or 0)
                again, superseded = again + done.again, superseded + done.superseded
        return Retried(again=again, superseded=superseded)


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
    """
    Open the desk on a database.

    :raises StorageUnavailable: if the database is lost
    """
    try:
        async with create_queue(conninfo, pool_size=1).open_async() as app:
            yield JobDesk(app)
    except (exceptions.ConnectorException, psycopg.Error) as error:
        raise StorageUnavailable(
            "The database cannot be reached at the moment", retry_after=timedelta(seconds=1)
        ) from error
