"""Metrics of the cache."""

from abc import ABC, abstractmethod

from typing_extensions import override

from app.domain.product import ServedFrom


class CacheObserver(ABC):
    """Counts the events of the cache; must not block or raise."""

    @abstractmethod
    def served(self, served_from: ServedFrom, *, collapsed: bool) -> None:
        """Count an answer; `collapsed` if it shared a fetch of another request."""

    @abstractmethod
    def refused(self) -> None:
        """Count a read that failed: no copy, and the catalog is unavailable."""

    @abstractmethod
    def asked(self, *, whole: bool, succeeded: bool) -> None:
        """Count a finished call for one product or for the `whole` catalog."""


class NullCacheObserver(CacheObserver):
    """Counts nothing."""

    @override
    def served(self, served_from: ServedFrom, *, collapsed: bool) -> None:
        pass

    @override
    def refused(self) -> None:
        pass

    @override
    def asked(self, *, whole: bool, succeeded: bool) -> None:
        pass
