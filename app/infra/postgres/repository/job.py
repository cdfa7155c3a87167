import json
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from typing_extensions import override

from app.application.tracer import SpanKind, Tracer
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

    At most one job of a `queueing_lock` waits; jobs of one `lock` run one after the other. A job
    that is enqueued within a trace carries it among its arguments, as `traceparent`.
    """

    _transaction: Transaction
    _tracer: Tracer

    @override
    async def enqueue(self, job: Job) -> None:
        with self._tracer.span(
            f"send {VALIDATE_PRODUCT}",
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "procrastinate",
                "messaging.operation.type": "send",
                "messaging.destination.name": QUEUE,
                "product_id": job.product_id,
            },
        ) as span:
            if not await self._defer(job):
                span.note({"waits_already": True})

    async def _defer(self, job: Job) -> bool:
        """Enqueue a job; tell whether it was not waiting already."""
        lock = f"{VALIDATE_PRODUCT}:{job.product_id}"
        args: dict[str, int | str] = {"product_id": job.product_id}
        # Without a trace there is no such argument: versions that do not know it can run the job.
        if (carried := self._tracer.carried()) is not None:
            args["traceparent"] = carried
        try:
            async with self._transaction.savepoint():
                await self._transaction.sql(
                    _DEFER,
                    queue=QUEUE,
                    task=VALIDATE_PRODUCT,
                    lock=lock,
                    queueing_lock=lock,
                    args=json.dumps(args),
                )
        except IntegrityError as error:
            if violated_constraint(error) != "procrastinate_jobs_queueing_lock_idx_v1":
                raise
            return False
        return True


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
