"""When this process made its latest reads."""

from collections.abc import Hashable
from datetime import datetime
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MOST_NOTED = 16_384


class RecentReads(Generic[K]):
    """The times of the latest reads by what was read; of the latest `most` alone."""

    def __init__(self, *, most: int = MOST_NOTED) -> None:
        self._most = most
        # By a hash, which is smaller. A collision makes a read look more recent than it is.
        self._noted: dict[int, datetime] = {}

    def note(self, read: K, now: datetime) -> None:
        """Note that something was read."""
        key = hash(read)
        # Insert at the end again, so that the first entry is the oldest.
        self._noted.pop(key, None)
        self._noted[key] = now
        if len(self._noted) > self._most:
            del self._noted[next(iter(self._noted))]

    def noted_since(self, read: K, moment: datetime) -> bool:
        """Tell whether something was read after a moment."""
        noted = self._noted.get(hash(read))
        return noted is not None and noted > moment
