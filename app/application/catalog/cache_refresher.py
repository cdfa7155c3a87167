"""
One call of the catalog for each refresh, over all processes.

The lease is a column in the row of what is refreshed. The process that takes it calls the catalog;
the others wait for the row. A failure is written into the row as well: no process calls again
before its time, so that an outage of the catalog is not a storm of calls.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, TypeAlias, TypeVar

from app.application.catalog.cache_observer import CacheObserver
from app.application.catalog.cache_refresh import CacheRefresh, CacheState
from app.application.catalog.hot_products import HotProducts
from app.application.ports import BackgroundTasks, Clock, ProductCatalog
from app.domain.outcome import CatalogUnavailable, StorageUnavailable, Unavailable
from app.domain.product import CachePolicy, RefreshState
from app.domain.repository import UnitOfWorkFactory

R = TypeVar("R")
T = TypeVar("T")

Sleep: TypeAlias = Callable[[float], Awaitable[object]]
"""Waits for a number of seconds."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.025, 0.2
LEASES_TO_WAIT = 2
"""A waiting process outlives the lease of one that died, and that of its successor."""

BUSY_RETRY_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult(Generic[T]):
    """
    A result, and the refresh whose call brought it.

    `fetched_by` is None if it was found in storage.
    """

    value: T
    fetched_by: object | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRefresher:
    """
    Runs refreshes; no unit of work is open during a call or a wait.

    After a failure the pause that the catalog asks for is kept up to `longest_backoff`.
    """

    uow: UnitOfWorkFactory
    catalog: ProductCatalog
    tasks: BackgroundTasks
    clock: Clock
    policy: CachePolicy
    observer: CacheObserver
    hot: HotProducts
    sleep: Sleep
    longest_backoff: timedelta = timedelta(minutes=5)

    def start(self, refresh: CacheRefresh[R, T]) -> None:
        """Run a refresh in the background."""
        self.tasks.start(refresh.key, partial(self.run, refresh))

    async def join(self, refresh: CacheRefresh[R, T]) -> RefreshResult[T] | Unavailable:
        """Run a refresh, shared with all requests of this process that need it."""
        return await self.tasks.join(
            refresh.key, partial(self.run, refresh)
        ) or CatalogUnavailable("Too many refreshes at once", retry_after=BUSY_RETRY_AFTER)

    async def run(self, refresh: CacheRefresh[R, T]) -> RefreshResult[T] | Unavailable:
        """
        Get the result from storage, from the catalog, or from another process that holds the
        lease.

        A failure is returned and not raised: it goes to every request that waits.
        """
        try:
            return await self._run(refresh)
        except Unavailable as failure:
            return failure

    async def _run(self, refresh: CacheRefresh[R, T]) -> RefreshResult[T]:
        give_up_at = self.clock() + LEASES_TO_WAIT * self.policy.lease
        pauses = _pauses()
        while True:
            state, now = await self._look_up_or_lease(refresh)
            if state is None:
                return RefreshResult(value=await self.fetch(refresh), fetched_by=refresh)
            if state.result is not None:
                return RefreshResult(value=state.result, fetched_by=None)
            if state.refresh.blocked(now):
                raise unavailable_until(state.refresh.blocked_until, now=now)
            if now >= give_up_at:
                raise unavailable_until(state.refresh.leased_until, now=now)
            await self.sleep(next(pauses))

    async def _look_up_or_lease(
        self, refresh: CacheRefresh[R, T]
    ) -> tuple[CacheState[T] | None, datetime]:
        """Return the state in storage, None if this process holds the lease now; and the time."""
        async with self.uow() as work:
            state = await refresh.look_up(work.products, now=self.clock())
            # Storage may have taken long. A lease that began before that could end while its
            # holder still fetches, and another process would fetch as well.
            now = self.clock()
            if state.result is not None or not state.refresh.allowed(now):
                return state, now
            until = now + self.policy.lease
            if not await refresh.acquire_lease(work.products, now=now, until=until):
                return state, now
            again = await refresh.look_up(work.products, now=now)
            if again.result is not None:
                # Stored since the first look. Without a commit the lease is not taken.
                return again, now
            await work.commit()
            return None, now

    async def fetch(self, refresh: CacheRefresh[R, T]) -> T:
        """
        Call the catalog, without regard to the lease, and store its response.

        :raises CatalogUnavailable: if it does not respond; the next attempt is put off
        :raises StorageUnavailable: if there is no result without storage
        """
        asked_at = self.clock()
        try:
            response = await refresh.fetch(self.catalog)
        except CatalogUnavailable as failure:
            self.observer.asked(whole=refresh.whole, succeeded=False)
            pause = max(self.policy.backoff, min(failure.retry_after, self.longest_backoff))
            await self._block(refresh, until=self.clock() + pause)
            raise CatalogUnavailable(str(failure), retry_after=pause) from failure
        self.observer.asked(whole=refresh.whole, succeeded=True)
        try:
            async with self.uow() as work:
                result = await refresh.store(work.products, response, asked_at=asked_at)
                await work.commit()
        except StorageUnavailable:
            if (unstored := refresh.without_storage(response, asked_at=asked_at)) is None:
                raise
            return unstored
        # After the commit: what the hot tier serves has to be in storage.
        await refresh.update_hot_tier(self.hot, response, result)
        return result

    async def _block(self, refresh: CacheRefresh[R, T], *, until: datetime) -> None:
        try:
            async with self.uow() as work:
                await refresh.block(work.products, until=until)
                await work.commit()
        except StorageUnavailable:
            pass  # the lease puts off the next attempt until it ends

    def failed_recently(self, state: RefreshState, now: datetime) -> bool:
        """
        Whether a failure counts as this read's attempt to fetch first.

        That is so for as long as a copy is fresh, and at least for a lease: then the next attempt
        is made in the background, and an outage costs one request a wait and not each of them.
        """
        remembered = max(self.policy.soft_ttl, self.policy.lease)
        return state.blocked_until is not None and now <= state.blocked_until + remembered


def unavailable_until(moment: datetime | None, *, now: datetime) -> CatalogUnavailable:
    """Make the outcome for something that cannot be fetched before a moment."""
    return CatalogUnavailable(
        "The catalog cannot be asked about this at the moment",
        retry_after=max((moment or now) - now, timedelta(seconds=1)),
    )


def raised_again(failure: Unavailable) -> Unavailable:
    """Copy a failure that several requests share: each traceback belongs to one exception."""
    return type(failure)(str(failure), retry_after=failure.retry_after)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_S
    while True:
        # Jitter, so that processes that wait for one row do not look at it in step.
        yield pause * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing
        pause = min(2 * pause, LONGEST_PAUSE_S)
