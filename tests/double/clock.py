"""Time that passes when a test says so."""

import asyncio
from datetime import datetime, timedelta

from tests import make


class ManualClock:
    """Shows the same time until it is advanced."""

    def __init__(self, now: datetime = make.NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by

    async def sleep(self, seconds: float) -> None:
        """Let the time pass that somebody would have slept, and others have their turn."""
        self.advance(timedelta(seconds=seconds))
        await asyncio.sleep(0)


class Seconds:
    """A clock without a date that is put forward by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
