"""Keyset paging: a page begins after a position, not after a count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

Position: TypeAlias = tuple[str | None, ...]
"""The sort key of a page's last item, as text; only the repository that made it can read it."""

DEFAULT_LIMIT = 25
MAX_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Items in a stated order, and where the next page begins (None on the last one)."""

    items: Sequence[T]
    next: Position | None
