"""The tasks that a worker runs, and when the periodic ones are due."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import procrastinate
from procrastinate import utils

from app.domain.outcome import Unavailable
from app.domain.product import ProductId
from app.infra.jobs.retry import Backoff

CATALOG_QUEUE = "catalog"
UPKEEP_QUEUE = "upkeep"
QUEUES = frozenset({CATALOG_QUEUE, UPKEEP_QUEUE})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHandlers:
    """The work of each task. A handler may run twice for one job and must be idempotent."""

    validate_product: Callable[[ProductId], Awaitable[None]]
    refresh_favorited: Callable[[], Awaitable[object]]
    reconcile_popularity: Callable[[], Awaitable[None]]
    purge: Callable[[], Awaitable[None]]


def register_tasks(
    app: procrastinate.App,
    handlers: JobHandlers,
    *,
    lease: timedelta,
    dead_letters_kept: timedelta,
) -> None:
    """
    Register all tasks of the queue.

    Jobs of a worker without a heartbeat for `lease` run again. Dead letters are deleted after
    `dead_letters_kept`.
    """

    @app.task(name="validate_product", queue=CATALOG_QUEUE, retry=Backoff())
    async def validate_product(
        product_id: int,
        traceparent: str | None = None,  # noqa: ARG001  # the worker's tracing reads it
    ) -> None:
        await handlers.validate_product(ProductId(product_id))

    @app.periodic(cron="* * * * * */10")
    @app.task(name="refresh_favorited", queue=UPKEEP_QUEUE, queueing_lock="refresh_favorited")
    async def refresh_favorited(timestamp: int) -> None:  # noqa: ARG001  # procrastinate passes it
        # The next run is the retry. A failed job would only add a dead letter.
        try:
            await handlers.refresh_favorited()
        except Unavailable as outcome:
            logger.warning("refresh_favorited_failed", extra={"reason": outcome.code})

    # Not on the hour, when most hourly jobs of other systems run.
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
            nb_hours=int(dead_letters_kept / timedelta(hours=1)),
            include_failed=True,
            include_aborted=True,
            include_cancelled=True,
        )

    @app.periodic(cron="* * * * * */5")
    @app.task(name="retry_stalled", queue=UPKEEP_QUEUE, queueing_lock="retry_stalled")
    async def retry_stalled(timestamp: int) -> None:  # noqa: ARG001  # procrastinate's
        lease_s = lease.total_seconds()
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=lease_s):
            logger.warning("job_stalled", extra={"job_id": job.id, "task": job.task_name})
            await app.job_manager.retry_job(job, retry_at=utils.utcnow())
        await app.job_manager.prune_stalled_workers(lease_s)
