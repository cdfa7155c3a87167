"""Clocks that tests advance."""

import asyncio
from datetime import datetime, timedelta

from tests import make


class ManualClock:
    """A clock with a date and a time zone."""

    def __init__(self, now: datetime = make.NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        """Advance the time."""
        self.now += by

    async def sleep(self, seconds: float) -> None:
        """Advance the time instead of sleeping, and let other tasks run."""
        self.advance(timedelta(seconds=seconds))
        await asyncio.sleep(0)


class Seconds:
    """A clock of seconds without a date, such as `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
