"""Counting in this process."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from limits.aio.storage import MemoryStorage
from typing_extensions import override


class ProcessStorage(MemoryStorage):
    """
    The moving window of `limits`, made for many keys.

    The storage it stands for looks for what has expired on every request, in a task that goes over
    all keys and enters a thread for each. Here each request throws away what it comes upon, so
    that the cost does not grow with the number of keys, and memory is bounded by the requests
    within one window.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._clock = clock
        # Those who asked last are at the end.
        self._requests: OrderedDict[str, deque[float]] = OrderedDict()

    @override
    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = self._clock()
        self._forget(now - expiry)
        requests = self._requests.setdefault(key, deque())
        self._requests.move_to_end(key)
        _drop(requests, until=now - expiry)
        accepted = len(requests) + amount <= limit
        if accepted:
            requests.extend([now] * amount)
        return accepted

    @override
    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = self._clock()
        requests = self._requests.get(key)
        if requests is None:
            return now, 0
        _drop(requests, until=now - expiry)
        return (requests[0] if requests else now), len(requests)

    def __len__(self) -> int:
        """Return how many keys are held."""
        return len(self._requests)

    def _forget(self, until: float) -> None:
        while self._requests:
            key, requests = next(iter(self._requests.items()))
            _drop(requests, until=until)
            if requests:
                return
            del self._requests[key]


def _drop(requests: deque[float], *, until: float) -> None:
    while requests and requests[0] <= until:
        requests.popleft()
