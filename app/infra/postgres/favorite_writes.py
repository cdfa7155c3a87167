import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from opentelemetry.trace import Span, SpanKind, Tracer, use_span
from typing_extensions import override

from app.domain.access import SessionCheck
from app.domain.customer import CustomerId
from app.domain.favorite import Favorite
from app.domain.outcome import CustomerNotFound
from app.domain.product import CachedProduct, ProductId
from app.domain.writes import (
    AddOutcome,
    AddResult,
    FavoriteLimits,
    FavoriteWrites,
    RemoveOutcome,
    RestoreOutcome,
)
from app.infra.observability.tracing.spans import NO_TRACER, current_traceparent
from app.infra.postgres.batcher import Batcher
from app.infra.postgres.failure import storage_failures
from app.infra.postgres.favorite_batch import (
    Add,
    Added,
    Remove,
    add_favorites,
    content,
    in_calls,
    remove_favorites,
)
from app.infra.postgres.row_cache import ProductRowCache, Version
from app.infra.postgres.statement_pool import StatementPool

LOCK_WAITS_MAX = 2
"""How many calls may wait for locks at the same time, at most; one connection stays free."""

_NO_VERSION: Version = 0
"""A version that no row has."""

_RESTORE = "SELECT outcome, enqueued FROM restore_favorite($1, $2, $3, $4, $5)"
_CHANGE = """
    SELECT product_id, outcome, enqueued
    FROM change_favorites($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"""
_ENTER = "SELECT enter_catalog_changes($1)"

T = TypeVar("T")


class PostgresFavoriteWrites(FavoriteWrites):
    """
    The writes to lists of favorites, each one call of an SQL function.

    Additions that arrive at the same time share a call, and so do removals: they share the wait
    for the disk, and lock popular products in turn instead of against each other.
    """

    def __init__(
        self,
        pool: StatementPool,
        row_cache: ProductRowCache,
        *,
        patience: timedelta,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """Prepare writes that are done within `patience` or fail."""
        self._fetch = pool.fetch
        self._row_cache = row_cache
        self._patience_s = patience.total_seconds()
        self._tracer = tracer
        self._adds = Batcher(
            partial(in_calls, partial(add_favorites, pool.fetch, wait=False)), patience=patience
        )
        self._removes = Batcher(
            partial(in_calls, partial(remove_favorites, pool.fetch, wait=False)), patience=patience
        )
        self._lock_waits = asyncio.Semaphore(max(1, min(LOCK_WAITS_MAX, pool.size - 1)))

    @override
    async def add(
        self,
        favorite: Favorite,
        *,
        limits: FavoriteLimits,
        seen: CachedProduct | None = None,
        session: SessionCheck | None = None,
    ) -> AddResult:
        deadline = self._deadline()
        job = self._start_job(favorite.product_id) if favorite.pending else None
        add = Add(
            favorite=favorite,
            limits=limits,
            version=None if seen is None else self._row_cache.version(seen) or _NO_VERSION,
            session=session,
            traceparent=_traceparent(job),
        )
        added: Added | None = await self._adds.submit(add)
        while added is None:
            async with self._bounded(deadline):
                [added] = await add_favorites(self._fetch, [add], wait=True)
        _end_job(job, enqueued=added.enqueued)
        return added.result

    @override
    async def remove(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        now: datetime,
        session: SessionCheck | None = None,
    ) -> RemoveOutcome:
        deadline = self._deadline()
        remove = Remove(key=(customer_id, product_id), now=now, session=session)
        outcome: RemoveOutcome | None = await self._removes.submit(remove)
        while outcome is None:
            async with self._bounded(deadline):
                [outcome] = await remove_favorites(self._fetch, [remove], wait=True)
        return outcome

    @override
    async def restore(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        removed_since: datetime,
        limits: FavoriteLimits,
    ) -> RestoreOutcome:
        job = self._start_job(product_id)
        async with self._bounded(self._deadline()):
            [(outcome, enqueued)] = await self._fetch(
                _RESTORE, customer_id, product_id, removed_since, limits.total, _traceparent(job)
            )
        _end_job(job, enqueued=enqueued)
        return RestoreOutcome(outcome)

    @override
    async def change(
        self,
        customer_id: CustomerId,
        *,
        add: Mapping[ProductId, Favorite | None],
        remove: Collection[ProductId] = (),
        now: datetime,
        limits: FavoriteLimits,
        dry_run: bool = False,
    ) -> Mapping[ProductId, AddOutcome | RemoveOutcome]:
        added = dict(sorted(add.items()))
        jobs = {
            product_id: self._start_job(product_id)
            for product_id, favorite in added.items()
            if favorite is not None and favorite.pending
        }
        async with self._bounded(self._deadline(), locks=not dry_run):
            rows = await self._fetch(
                _CHANGE,
                customer_id,
                now,
                sorted(set(remove)),
                list(added),
                *content(list(added.values())),
                [_traceparent(jobs.get(product_id)) for product_id in added],
                limits.total,
                limits.pending,
                dry_run,
            )
        outcomes: dict[ProductId, AddOutcome | RemoveOutcome] = {}
        for product_id, outcome, enqueued in rows:
            if outcome == AddOutcome.NO_CUSTOMER:
                raise CustomerNotFound
            kind = AddOutcome if product_id in added else RemoveOutcome
            outcomes[product_id] = kind(outcome)
            _end_job(jobs.get(product_id), enqueued=enqueued)
        return outcomes

    @override
    async def enter_catalog_changes(self, customer_id: CustomerId) -> None:
        async with self._bounded(self._deadline()):
            await self._fetch(_ENTER, customer_id)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._patience_s

    @asynccontextmanager
    async def _bounded(self, deadline: float, *, locks: bool = True) -> AsyncGenerator[None]:
        """Bound the time of a call, and the number of calls that may wait for locks."""
        with storage_failures():
            async with asyncio.timeout_at(deadline), self._lock_waits if locks else nullcontext():
                yield

    def _start_job(self, product_id: ProductId) -> Span:
        """Start the span of a job that may be enqueued. One that is not ended is never sent."""
        return self._tracer.start_span(
            "send validate_product",
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "procrastinate",
                "messaging.operation.type": "send",
                "messaging.destination.name": "catalog",
                "product_id": product_id,
            },
        )

    async def aclose(self) -> None:
        """Cancel the shared calls in progress."""
        await self._adds.aclose()
        await self._removes.aclose()


def _traceparent(job: Span | None) -> str | None:
    if job is None:
        return None
    with use_span(job):
        return current_traceparent()


def _end_job(job: Span | None, *, enqueued: bool | None) -> None:
    if job is None or enqueued is None:
        return
    if not enqueued:
        job.set_attribute("waits_already", True)
    job.end()
