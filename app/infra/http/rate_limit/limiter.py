"""The interface of rate limiters."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta

from app.domain.throttle import ThrottleRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """
    Whether a request is within the limit, and how many more are.

    After `reset` the oldest counted request leaves the window.
    """

    accepted: bool
    remaining: int
    reset: timedelta


class RateLimiter(ABC):
    """
    Count requests by key against one rule, in a moving window.

    A moving window is exact: no period contains more requests than the limit, and `reset` is when
    the next request is accepted. A fixed window admits twice the limit around its edge, and a
    sliding counter only estimates. The price is one time stamp for each request in the window.
    """

    rule: ThrottleRule

    @abstractmethod
    async def admit(self, key: str) -> Admission:
        """Count a request if it is within the limit; never fails, and returns quickly."""

    async def aclose(self) -> None:
        """Close the connections, if there are any."""
        return
