import json
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from typing_extensions import override

from app.domain.job import Job
from app.domain.repository import JobQueue
from app.infra.postgres.failure import violated_constraint
from app.infra.postgres.transaction import Transaction

QUEUE = "catalog"
VALIDATE_PRODUCT = "validate_product"


@dataclass(frozen=True, slots=True)
class PostgresJobQueue(JobQueue):
    """
    Puts jobs into procrastinate's tables, by its own function, in our transaction.

    At most one job of a `queueing_lock` waits; jobs of one `lock` run one after the other.
    """

    _transaction: Transaction

    @override
    async def enqueue(self, job: Job) -> None:
        lock = f"{VALIDATE_PRODUCT}:{job.product_id}"
        try:
            async with self._transaction.savepoint():
                await self._transaction.sql(
                    _DEFER,
                    queue=QUEUE,
                    task=VALIDATE_PRODUCT,
                    lock=lock,
                    queueing_lock=lock,
                    args=json.dumps({"product_id": job.product_id}),
                )
        except IntegrityError as error:
            if violated_constraint(error) != "procrastinate_jobs_queueing_lock_idx_v1":
                raise


_DEFER = text("""
    SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(
        CAST(:queue AS text),
        CAST(:task AS text),
        0,
        CAST(:lock AS text),
        CAST(:queueing_lock AS text),
        CAST(CAST(:args AS text) AS jsonb),
        NULL
    )\\:\\:procrastinate_job_to_defer_v1])
""")
