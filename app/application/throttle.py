"""Counting attempts before they cost anything."""

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

    Counted before the work begins, so that attempts side by side cannot exceed a rule together.

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
    Forget attempts if too many passwords are being hashed: nothing was guessed.

    Whoever comes again when they are told to would else be locked out by our being busy.
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
    """Return the refusal of a rule."""
    return TooManyAttempts("Too many attempts; wait a while", retry_after=wait)
