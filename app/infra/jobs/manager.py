"""procrastinate's job manager, with our rules for duplicate jobs and heartbeats."""

from collections.abc import Callable
from datetime import datetime

from procrastinate import exceptions
from procrastinate.connector import BaseConnector
from procrastinate.jobs import Status
from procrastinate.manager import JobManager
from typing_extensions import override


class WorkerJobManager(JobManager):
    """
    Removes a failed job instead of retrying it if an equal one is already queued.

    At most one job of a queueing lock is queued. A job that fails while another one with its lock
    is queued cannot go back to the queue, and the other one does the same work.

    `on_heartbeat` is called after each update of the worker's heartbeat in the database.
    """

    def __init__(self, connector: BaseConnector, *, on_heartbeat: Callable[[], None]) -> None:
        super().__init__(connector)
        self._on_heartbeat = on_heartbeat

    @override
    async def register_worker(self) -> int:
        worker_id = await super().register_worker()
        self._on_heartbeat()
        return worker_id

    @override
    async def update_heartbeat(self, worker_id: int) -> None:
        await super().update_heartbeat(worker_id)
        self._on_heartbeat()

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
