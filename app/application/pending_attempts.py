"""Sign-in attempts in flight."""

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
class _Pending:
    """The number of pending attempts of a key, and the requests that wait for one to end."""

    number: int = 0
    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)


class PendingAttempts:
    """
    The attempts of this process that have been counted and have not ended.

    An attempt is counted before the password is verified, and given back if it succeeds. Many
    concurrent attempts with the right password would so refuse each other: a request that is
    refused while others are pending waits for one of them to end, and tries again.
    """

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._waiting = 0
        self._keys: dict[ThrottleKey, _Pending] = {}

    @contextmanager
    def one(self, keys: Collection[ThrottleKey]) -> Generator[None]:
        """Have an attempt pending that counts for these keys."""
        for key in keys:
            self._keys.setdefault(key, _Pending()).number += 1
        try:
            yield
        finally:
            for key in keys:
                self._end(key)

    async def one_ends(self, keys: Collection[ThrottleKey]) -> bool:
        """
        Wait until an attempt for one of the keys ends; return False at once if none is pending.

        :raises HashingBusy: if too many requests wait already
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
            # The wake-up was consumed here: pass it on.
            if ends.done() and not ends.cancelled():
                for each in found:
                    _wake_one(each)
            raise
        finally:
            self._waiting -= 1
        return True

    def _end(self, key: ThrottleKey) -> None:
        pending = self._keys[key]
        pending.number -= 1
        _wake_one(pending)
        if not pending.number:
            del self._keys[key]
            # No attempt is left to wait for.
            while pending.waiting:
                _wake_one(pending)


def _wake_one(pending: _Pending) -> None:
    while pending.waiting:
        ends = pending.waiting.popleft()
        if not ends.done():
            ends.set_result(None)
            return
