"""Attempts whose outcome nobody knows yet."""

import asyncio
from collections import deque
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from app.domain.outcome import HashingBusy
from app.domain.throttle import ThrottleKey

WAITING_MAX = 64
RETRY_AFTER = timedelta(seconds=1)


@dataclass(slots=True)
class _Key:
    """How many attempts of a key are under way, and who waits for one of them to end."""

    number: int = 0
    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)


class AttemptsUnderWay:
    """
    The attempts of this process that have been counted and have not ended.

    An attempt is counted before it costs anything, and given back if it is none that counts. Many
    at once who are all right would so refuse each other: whoever is refused while others are
    under way waits for one of them to end, and tries again.
    """

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._waiting = 0
        self._keys: dict[ThrottleKey, _Key] = {}

    @contextmanager
    def one(self, keys: Collection[ThrottleKey]) -> Generator[None]:
        """Have an attempt under way, which counts for these keys."""
        for key in keys:
            self._keys.setdefault(key, _Key()).number += 1
        try:
            yield
        finally:
            for key in keys:
                self._end(key)

    async def one_ends(self, keys: Collection[ThrottleKey]) -> bool:
        """
        Wait until an attempt for one of the keys ends; at once False if none is under way.

        :raises HashingBusy: if too many wait already
        """
        found = [each for key in keys if (each := self._keys.get(key)) is not None]
        if not found:
            return False
        if self._waiting >= self._waiting_max:
            raise HashingBusy("Too many wait to sign in", retry_after=RETRY_AFTER)
        ends = asyncio.get_running_loop().create_future()
        for each in found:
            each.waiting.append(ends)
        self._waiting += 1
        try:
            await ends
        except asyncio.CancelledError:
            # Not only ours to know.
            if ends.done() and not ends.cancelled():
                for each in found:
                    _wake_one(each)
            raise
        finally:
            self._waiting -= 1
        return True

    def _end(self, key: ThrottleKey) -> None:
        here = self._keys[key]
        here.number -= 1
        _wake_one(here)
        if not here.number:
            del self._keys[key]
            # Nobody is left to wait for.
            while here.waiting:
                _wake_one(here)


def _wake_one(key: _Key) -> None:
    while key.waiting:
        ends = key.waiting.popleft()
        if not ends.done():
            ends.set_result(None)
            return
