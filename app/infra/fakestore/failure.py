"""
How a call can end.

    Exception
    └── NotAnswered            no answer that could be believed
        ├── CallFailed         the catalog was asked; the breaker counts these
        └── CallRefused        it was not even asked
            ├── CircuitOpen
            └── BulkheadFull

They stay within this package: callers of the catalog see `CatalogUnavailable`.
"""

from datetime import timedelta

from app.application.catalog.catalog_observer import CallOutcome

RETRYABLE = frozenset({CallOutcome.TRANSPORT, CallOutcome.RATE_LIMITED, CallOutcome.SERVER_ERROR})
"""The failures that may be gone a moment later."""


class NotAnswered(Exception):
    """A call without an answer; `detail` says more, and never what a body held."""

    def __init__(
        self, outcome: CallOutcome, detail: str = "", *, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(f"{outcome}: {detail}" if detail else str(outcome))
        self.outcome = outcome
        self.detail = detail
        self.retry_after = retry_after


class CallFailed(NotAnswered):
    """The catalog did not answer, or not as agreed."""

    @property
    def retryable(self) -> bool:
        """Whether asking again is worth it."""
        return self.outcome in RETRYABLE


class CallRefused(NotAnswered):
    """We did not ask, to spare the catalog or ourselves."""


class CircuitOpen(CallRefused):
    """Too many calls failed; `retry_after` is when the next is let through."""

    def __init__(self, *, retry_after: timedelta) -> None:
        super().__init__(CallOutcome.CIRCUIT_OPEN, retry_after=retry_after)


class BulkheadFull(CallRefused):
    """As many calls as we allow are under way, and as many wait."""

    def __init__(self, detail: str) -> None:
        super().__init__(CallOutcome.BULKHEAD_FULL, detail)
