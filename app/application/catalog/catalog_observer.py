"""Metrics of the calls to the catalog."""

from abc import ABC, abstractmethod
from enum import StrEnum

from typing_extensions import override


class Operation(StrEnum):
    """What a call fetches."""

    FIND = "find"
    LIST = "list"


class CallOutcome(StrEnum):
    """The outcome of a call, for logs and metrics."""

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
    """Calls pass, calls are refused, or a single trial call passes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CatalogObserver(ABC):
    """Counts calls and changes of the breaker; must not block or raise."""

    @abstractmethod
    def called(
        self, operation: Operation, *, outcome: CallOutcome, latency_s: float, retries: int
    ) -> None:
        """Count a finished call; canceled ones are not counted."""

    @abstractmethod
    def breaker_changed(self, state: BreakerState) -> None:
        """Note the breaker's new state; it is closed at first."""


class NullCatalogObserver(CatalogObserver):
    """Counts nothing."""

    @override
    def called(
        self, operation: Operation, *, outcome: CallOutcome, latency_s: float, retries: int
    ) -> None:
        pass

    @override
    def breaker_changed(self, state: BreakerState) -> None:
        pass
