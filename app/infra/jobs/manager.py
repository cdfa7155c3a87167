"""The library's way of settling jobs, as our workers want it."""

from datetime import datetime

from procrastinate import exceptions
from procrastinate.jobs import Status
from procrastinate.manager import JobManager
from typing_extensions import override


class CollapsingJobManager(JobManager):
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
