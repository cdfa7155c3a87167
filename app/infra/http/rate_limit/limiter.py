"""How many requests somebody may make."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import Storage
from limits.aio.strategies import MovingWindowRateLimiter
from typing_extensions import override

from app.domain.throttle import ThrottleRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """
    Whether a request is within the limit, and what is left of it.

    After `reset` the oldest request that counts does so no more.
    """

    accepted: bool
    remaining: int
    reset: timedelta


class RateLimiter(ABC):
    """Counts requests; `rule` is what each key may do."""

    rule: ThrottleRule

    @abstractmethod
    async def admit(self, key: str) -> Admission:
        """Count a request if it is within the limit; must not fail, and not take long."""

    async def aclose(self) -> None:
        """Let go of connections."""
        return


class WindowLimiter(RateLimiter):
    """
    Counts in a storage of `limits`, by a window that moves with each request.

    That window is exact: never more than the limit in any period, and `reset` is the moment at
    which the next request is accepted. A fixed window lets twice the limit through around its
    edge, and a counter that slides by estimate knows that moment only roughly. The price, a time
    for each request in the window, is paid only for those who ask much.
    """

    def __init__(
        self, storage: Storage, rule: ThrottleRule, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.rule = rule
        self._strategy = MovingWindowRateLimiter(storage)
        self._item = _item(rule)
        self._clock = clock

    @override
    async def admit(self, key: str) -> Admission:
        accepted = await self._strategy.hit(self._item, key)
        stats = await self._strategy.get_window_stats(self._item, key)
        return Admission(
            accepted=accepted,
            # A place that became free in between was not there for this request.
            remaining=max(0, stats.remaining) if accepted else 0,
            reset=timedelta(seconds=max(0.0, stats.reset_time - self._clock())),
        )


def _item(rule: ThrottleRule) -> RateLimitItem:
    return RateLimitItemPerSecond(rule.limit, math.ceil(rule.window.total_seconds()))
