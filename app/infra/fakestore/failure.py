"""
The ways in which a call can fail.

    Exception
    └── CallError              no valid response
        ├── CallFailed         the request failed; the circuit breaker counts these
        └── CallRefused        no request was sent
            ├── CircuitOpen
            └── BulkheadFull

They stay inside this package: callers of the catalog get `CatalogUnavailable`.
"""

from datetime import timedelta

from app.application.catalog.catalog_observer import CallOutcome

RETRYABLE = frozenset({CallOutcome.TRANSPORT, CallOutcome.RATE_LIMITED, CallOutcome.SERVER_ERROR})
"""The failures that are likely to be transient."""


class CallError(Exception):
    """A call without a valid response; `detail` explains it without quoting the body."""

    def __init__(
        self, outcome: CallOutcome, detail: str = "", *, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(f"{outcome}: {detail}" if detail else str(outcome))
        self.outcome = outcome
        self.detail = detail
        self.retry_after = retry_after


class CallFailed(CallError):
    """The catalog did not respond, or responded with something unexpected."""

    @property
    def retryable(self) -> bool:
        """Whether a retry may succeed."""
        return self.outcome in RETRYABLE


class CallRefused(CallError):
    """The call was not made, to protect the catalog or this process."""


class CircuitOpen(CallRefused):
    """Too many calls failed; the next one is allowed after `retry_after`."""

    def __init__(self, *, retry_after: timedelta) -> None:
        super().__init__(CallOutcome.CIRCUIT_OPEN, retry_after=retry_after)


class BulkheadFull(CallRefused):
    """The maximum number of calls is running, and the queue is full or too slow."""

    def __init__(self, detail: str) -> None:
        super().__init__(CallOutcome.BULKHEAD_FULL, detail)
