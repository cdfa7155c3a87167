"""Counting attempts before the expensive work begins."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from app.domain.outcome import HashingBusy, TooManyAttempts
from app.domain.repository import UnitOfWorkFactory
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule


async def take_attempts(
    uow: UnitOfWorkFactory,
    *rules: tuple[ThrottleKey, ThrottleRule | None],
    now: datetime,
) -> Sequence[Attempt]:
    """
    Count one attempt against each rule, or against none if one of them refuses.

    Counted before the work begins, so that concurrent attempts cannot exceed a rule together.

    :raises TooManyAttempts: if one of the rules refuses
    """
    attempts = []
    async with uow() as work:
        for key, rule in rules:
            if rule is None:
                continue
            taken = await work.throttles.take(key, rule, now=now)
            if isinstance(taken, timedelta):
                raise too_many_attempts(taken)
            attempts.append(taken)
        await work.commit()
    return attempts


@asynccontextmanager
async def given_back_if_busy(
    uow: UnitOfWorkFactory, attempts: Sequence[Attempt]
) -> AsyncGenerator[None]:
    """
    Give attempts back if too many passwords are being hashed: nothing was guessed.

    Otherwise a client that retries as it is asked to would be locked out.
    """
    try:
        yield
    except HashingBusy:
        async with uow() as work:
            for attempt in attempts:
                await work.throttles.give_back(attempt)
            await work.commit()
        raise


def too_many_attempts(wait: timedelta) -> TooManyAttempts:
    """Make the outcome of a rule that refuses."""
    return TooManyAttempts("Too many attempts; wait a while", retry_after=wait)
