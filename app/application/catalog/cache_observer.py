"""What can be counted about the cache."""

from abc import ABC, abstractmethod

from typing_extensions import override

from app.domain.product import ServedFrom


class CacheObserver(ABC):
    """Hears what the cache does; must not block and must not raise."""

    @abstractmethod
    def served(self, served_from: ServedFrom, *, collapsed: bool) -> None:
        """Note an answer; `collapsed` if it shared a call that somebody else had begun."""

    @abstractmethod
    def refused(self) -> None:
        """Note that nothing could be answered: no copy, and the catalog cannot be asked."""

    @abstractmethod
    def asked(self, *, whole: bool, succeeded: bool) -> None:
        """Note the end of a call for one product or for the `whole` catalog."""


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
