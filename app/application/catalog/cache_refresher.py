"""
One call for one question, over all processes.

The right to ask is a lease in the row of what is asked for. Whoever takes it asks; the others wait
for the row. A failure is written into the row as well: nobody asks again before its time, so that
an outage of the catalog is not a storm of questions.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeAlias, TypeVar

from app.application.catalog.cache_observer import CacheObserver
from app.application.catalog.cache_refresh import Known, Question
from app.application.catalog.hot_products import HotProducts
from app.application.ports import Clock, ProductCatalog
from app.domain.outcome import CatalogUnavailable, StorageUnavailable, Unavailable
from app.domain.product import CachePolicy
from app.domain.repository import UnitOfWorkFactory

R = TypeVar("R")
T = TypeVar("T")

Sleep: TypeAlias = Callable[[float], Awaitable[object]]
"""Waits for a number of seconds."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.025, 0.2
LEASES_TO_WAIT = 2
"""Whoever waits outlives the lease of one process that died, and that of its successor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """
    An answer, and the question whose call brought it.

    `asked` is None if no call of this process did.
    """

    value: T
    asked: object | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedCalls:
    """Gets answers; no unit of work is open while the catalog is asked or somebody waits."""

    uow: UnitOfWorkFactory
    catalog: ProductCatalog
    clock: Clock
    policy: CachePolicy
    observer: CacheObserver
    hot: HotProducts
    sleep: Sleep
    longest_backoff: timedelta

    async def answer(self, question: Question[R, T]) -> Answer[T] | Unavailable:
        """
        Get the answer from storage, from the catalog, or from another process that asks already.

        That there is none is an outcome like any other here: it goes to everybody who waits.
        """
        try:
            return await self._answer(question)
        except Unavailable as failure:
            return failure

    async def _answer(self, question: Question[R, T]) -> Answer[T]:
        give_up_at = self.clock() + LEASES_TO_WAIT * self.policy.lease
        pauses = _pauses()
        while True:
            known, now = await self._look_or_claim(question)
            if known is None:
                return Answer(value=await self.ask(question), asked=question)
            if known.answer is not None:
                return Answer(value=known.answer, asked=None)
            if known.refresh.blocked(now):
                raise unavailable_until(known.refresh.blocked_until, now=now)
            if now >= give_up_at:
                raise unavailable_until(known.refresh.claimed_until, now=now)
            await self.sleep(next(pauses))

    async def _look_or_claim(self, question: Question[R, T]) -> tuple[Known[T] | None, datetime]:
        """Return what storage says, None if we are the one to ask now; and when that was so."""
        async with self.uow() as work:
            known = await question.look(work.products, now=self.clock())
            # Storage may have been waited for. A lease that began before that might be over while
            # its holder still asks, and somebody else would ask as well.
            now = self.clock()
            if known.answer is not None or not known.refresh.claimable(now):
                return known, now
            if not await question.claim(work.products, now=now, until=now + self.policy.lease):
                return known, now
            again = await question.look(work.products, now=now)
            if again.answer is not None:
                # Answered since we looked. Without a commit the right is not taken.
                return again, now
            await work.commit()
            return None, now

    async def ask(self, question: Question[R, T]) -> T:
        """
        Ask the catalog, whoever else does, and keep what it says.

        :raises CatalogUnavailable: if it does not reply; the next attempt is pushed back
        :raises StorageUnavailable: if there is no answer without storage
        """
        asked_at = self.clock()
        try:
            reply = await question.ask(self.catalog)
        except CatalogUnavailable as failure:
            self.observer.asked(whole=question.whole, succeeded=False)
            pause = max(self.policy.backoff, min(failure.retry_after, self.longest_backoff))
            await self._block(question, until=self.clock() + pause)
            raise CatalogUnavailable(str(failure), retry_after=pause) from failure
        self.observer.asked(whole=question.whole, succeeded=True)
        try:
            async with self.uow() as work:
                answer = await question.keep(work.products, reply, asked_at=asked_at)
                await work.commit()
        except StorageUnavailable:
            # Whoever waits gets what the catalog said, kept or not.
            if (unkept := question.unkept(reply, asked_at=asked_at)) is None:
                raise
            return unkept
        # After the commit: nobody may hear of it here who would not find it there.
        await question.spread(self.hot, reply, answer)
        return answer

    async def _block(self, question: Question[R, T], *, until: datetime) -> None:
        try:
            async with self.uow() as work:
                await question.block(work.products, until=until)
                await work.commit()
        except StorageUnavailable:
            pass  # the lease holds off the next attempt until it runs out


def unavailable_until(moment: datetime | None, *, now: datetime) -> CatalogUnavailable:
    """Make the outcome for something that cannot be asked before a moment."""
    return CatalogUnavailable(
        "The catalog cannot be asked about this at the moment",
        retry_after=max((moment or now) - now, timedelta(seconds=1)),
    )


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_S
    while True:
        # Jitter, so that processes that wait for one row do not look at it in step.
        yield pause * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing
        pause = min(2 * pause, LONGEST_PAUSE_S)
