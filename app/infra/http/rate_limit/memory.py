"""Counting in this process."""

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
    A window that moves with each request, as `WindowLimiter` has it, for many keys.

    The storage that `limits` has for this looks for what has expired on every request, in a task
    that goes over all keys and enters a thread for each. Here each request throws away what it
    comes upon, so that the cost does not grow with the number of keys, and memory is bounded by
    the requests within about one window, eight bytes each.
    """

    def __init__(self, rule: ThrottleRule, *, clock: Callable[[], float] = time.time) -> None:
        self.rule = rule
        self._window_s = math.ceil(rule.window.total_seconds())
        self._clock = clock
        # When each key asked, in order; those who asked last are at the end.
        self._requests: OrderedDict[str, array[float]] = OrderedDict()

    @override
    async def admit(self, key: str) -> Admission:
        now = self._clock()
        since = now - self._window_s
        self._forget(since)
        requests = self._requests.get(key)
        if requests is None:
            requests = self._requests[key] = array("d")
        else:
            self._requests.move_to_end(key)
        # Most who ask have asked nothing that is over already.
        over = bisect_right(requests, since) if requests and requests[0] <= since else 0
        if 2 * over > len(requests):
            # Only then, so that what is moved up has been paid for by what is dropped.
            del requests[:over]
            over = 0
        counted = len(requests) - over
        accepted = counted < self.rule.limit
        if accepted:
            requests.append(now)
            counted += 1
        return Admission(
            accepted=accepted,
            remaining=self.rule.limit - counted,
            reset=timedelta(seconds=max(0.0, requests[over] - since)),
        )

    def __len__(self) -> int:
        """Return how many keys are held."""
        return len(self._requests)

    def _forget(self, until: float) -> None:
        while self._requests:
            key, requests = next(iter(self._requests.items()))
            if requests[-1] > until:
                return
            del self._requests[key]
