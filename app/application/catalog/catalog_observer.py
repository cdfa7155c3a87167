"""What can be counted about the calls of the catalog."""

from abc import ABC, abstractmethod
from enum import StrEnum

from typing_extensions import override


class Operation(StrEnum):
    """What the catalog was asked for."""

    FIND = "find"
    LIST = "list"


class CallOutcome(StrEnum):
    """The end of a call in one word, for logs and metrics."""

    FOUND = "found"
    ABSENT = "absent"
    TIMEOUT = "timeout"
    TRANSPORT = "transport"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    UNEXPECTED_STATUS = "unexpected_status"
    TOO_LARGE = "too_large"
    GARBAGE = "garbage"
    CIRCUIT_OPEN = "circuit_open"
    BULKHEAD_FULL = "bulkhead_full"


class BreakerState(StrEnum):
    """Calls pass, calls are refused, or one call is let through to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CatalogObserver(ABC):
    """Is told of each call and of each change of the breaker; has to be quick and not raise."""

    @abstractmethod
    def called(
        self, operation: Operation, *, outcome: CallOutcome, latency_s: float, retries: int
    ) -> None:
        """Take note of a call that ended; one whose caller gave up is not told of."""

    @abstractmethod
    def breaker_changed(self, state: BreakerState) -> None:
        """Take note of the breaker's new state; it is closed at first."""


class NullCatalogObserver(CatalogObserver):
    """Takes no notice."""

    @override
    def called(
        self, operation: Operation, *, outcome: CallOutcome, latency_s: float, retries: int
    ) -> None:
        pass

    @override
    def breaker_changed(self, state: BreakerState) -> None:
        pass
