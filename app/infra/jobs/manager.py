"""What the library's workers do to the queue's tables, as ours want it."""

from collections.abc import Callable
from datetime import datetime

from procrastinate import exceptions
from procrastinate.connector import BaseConnector
from procrastinate.jobs import Status
from procrastinate.manager import JobManager
from typing_extensions import override


class WorkerJobManager(JobManager):
    """
    Lets a job give way to another of the same kind that waits already, and its worker be heard of.

    At most one job of a queueing lock waits. One that runs while another is enqueued cannot go
    back to waiting when it fails, and need not: the other one does the same work.

    `beat` is called each time that the worker has told the database that it lives.
    """

    def __init__(self, connector: BaseConnector, *, beat: Callable[[], None]) -> None:
        super().__init__(connector)
        self._beat = beat

    @override
    async def register_worker(self) -> int:
        worker_id = await super().register_worker()
        self._beat()
        return worker_id

    @override
    async def update_heartbeat(self, worker_id: int) -> None:
        await super().update_heartbeat(worker_id)
        self._beat()

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
