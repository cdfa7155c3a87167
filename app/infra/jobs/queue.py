"""The job queue, procrastinate in the service's PostgreSQL, and its administration."""

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

# A job that was retried or deleted meanwhile is not `failed` and is left alone.
_REMOVE = "DELETE FROM procrastinate_jobs WHERE id = %(job_id)s AND status = 'failed'"


def create_queue(conninfo: str, *, pool_size: int = 4) -> procrastinate.App:
    """Create the queue's application; it connects when it is opened."""
    return procrastinate.App(
        connector=PsycopgConnector(
            conninfo=conninfo,
            min_size=1,
            max_size=pool_size,
            # The default waits half a minute for an unreachable database.
            timeout=5,
            # Prepared statements do not survive a transaction pooler.
            kwargs={"prepare_threshold": None, "application_name": "favorites-worker"},
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job in a list for operators; `attempts` counts failed runs."""

    id: int
    task: str
    args: dict[str, Any]
    status: str
    attempts: int
    scheduled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryResult:
    """How many dead letters were `queued` again or `superseded` by a queued equal job."""

    queued: int = 0
    superseded: int = 0


class JobAdmin:
    """
    Lists jobs and retries dead letters.

    At most one job of a queueing lock is queued. A dead letter whose lock is taken cannot go back
    to the queue and is removed: the queued job does the same work.
    """

    def __init__(self, app: procrastinate.App) -> None:
        self._manager = app.job_manager
        self._connector = app.connector

    async def list_jobs(self, *, status: str | None) -> Sequence[JobView]:
        """Return the jobs of a status (`todo`, `doing`, `failed`, …) or all, oldest first."""
        return [_view(job) for job in await self._manager.list_jobs_async(status=status)]

    async def retry(self, job_id: int) -> RetryResult:
        """
        Retry a failed job now.

        :raises JobNotRetryable: if the job does not exist or has not failed
        """
        try:
            await self._manager.retry_job_by_id_async(job_id=job_id, retry_at=utils.utcnow())
        except exceptions.UniqueViolation:
            await self._connector.execute_query_async(_REMOVE, job_id=job_id)
            return RetryResult(superseded=1)
        except exceptions.ConnectorException as error:
            # Only procrastinate's SQL function raises this, about the job's status.
            if not isinstance(error.__cause__, psycopg.errors.RaiseException):
                raise
            raise JobNotRetryable(f"Job {job_id} does not exist or has not failed") from error
        return RetryResult(queued=1)

    async def retry_all(self) -> RetryResult:
        """Retry all failed jobs now."""
        queued = superseded = 0
        for job in await self._manager.list_jobs_async(status=Status.FAILED.value):
            # Another operator may have retried it, or a worker deleted it, since it was listed.
            with suppress(JobNotRetryable):
                result = await self.retry(job.id or 0)
                queued, superseded = queued + result.queued, superseded + result.superseded
        return RetryResult(queued=queued, superseded=superseded)


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
async def open_job_admin(conninfo: str) -> AsyncGenerator[JobAdmin]:
    """
    Connect to the queue of a database.

    :raises StorageUnavailable: if the database is unreachable or the connection is lost
    """
    try:
        async with create_queue(conninfo, pool_size=1).open_async() as app:
            yield JobAdmin(app)
    except (exceptions.ConnectorException, psycopg.Error) as error:
        raise StorageUnavailable(
            "The database cannot be reached at the moment", retry_after=timedelta(seconds=1)
        ) from error
