"""What can be watched of the calls, for metrics."""

from abc import ABC, abstractmethod
from enum import StrEnum

from typing_extensions import override

from app.infra.fakestore.breaker import BreakerState
from app.infra.fakestore.failure import CallOutcome


class Operation(StrEnum):
    """What the catalog was asked for."""

    FIND = "find"
    LIST = "list"


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
