"""A rate limiter in the memory of this process."""

import math
import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta

from typing_extensions import override

from app.domain.throttle import ThrottleRule
from app.infra.http.rate_limit.limiter import Admission, RateLimiter


class ProcessLimiter(RateLimiter):
    """
    Count in this process, for many keys.

    The memory storage of `limits` starts a task on every request that goes over all keys and
    enters a thread for each. Here, each request drops only expired entries it encounters: its
    cost does not grow with the number of keys. Memory is limited to the requests of about one
    window, eight bytes each.
    """

    def __init__(self, rule: ThrottleRule, *, clock: Callable[[], float] = time.time) -> None:
        self.rule = rule
        self._window_s = math.ceil(rule.window.total_seconds())
        self._clock = clock
        # The times of the requests by key; the most recently used keys come last.
        self._requests: OrderedDict[str, array[float]] = OrderedDict()

    @override
    async def admit(self, key: str) -> Admission:
        now = self._clock()
        since = now - self._window_s
        self._drop_idle_keys(since)
        requests = self._requests.get(key)
        if requests is None:
            requests = self._requests[key] = array("d")
        else:
            self._requests.move_to_end(key)
        expired = bisect_right(requests, since) if requests and requests[0] <= since else 0
        if 2 * expired > len(requests):
            # Deleting only a majority keeps the amortized cost of moving the rest constant.
            del requests[:expired]
            expired = 0
        counted = len(requests) - expired
        accepted = counted < self.rule.limit
        if accepted:
            requests.append(now)
            counted += 1
        return Admission(
            accepted=accepted,
            remaining=self.rule.limit - counted,
            reset=timedelta(seconds=max(0.0, requests[expired] - since)),
        )

    def __len__(self) -> int:
        """Return the number of keys in memory."""
        return len(self._requests)

    def _drop_idle_keys(self, since: float) -> None:
        while self._requests:
            key, requests = next(iter(self._requests.items()))
            if requests[-1] > since:
                return
            del self._requests[key]
