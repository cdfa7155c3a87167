"""The parts of the in-memory storage: tables, uncommitted changes, row locks."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, auto
from typing import Protocol, TypeVar
from uuid import UUID

from typing_extensions import override

from app.domain.access import ApiKey, ApiKeyId
from app.domain.customer import Customer, CustomerId
from app.domain.favorite import Favorite
from app.domain.page import Page, Position
from app.domain.product import (
    CachedProduct,
    CatalogState,
    PricePoint,
    ProductId,
    UnknownProduct,
)
from app.domain.session import RefreshToken, RefreshTokenHash, Session, SessionId
from app.domain.throttle import ThrottleKey

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


class _Gone(Enum):
    GONE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A favorite, and the versions of its list in which it was added and changed."""

    favorite: Favorite
    added_in: int
    changed_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """The removal of a favorite, with its content while it is kept."""

    changed_in: int
    removed_at: datetime
    favorite: Favorite | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListState:
    """A customer's list as a whole; removals up to version `forgotten_to` may be erased."""

    version: int = 0
    forgotten_to: int = 0
    catalog_seen: int = 0


class Changes(MutableMapping[K, V]):
    """
    A table as one transaction sees it: the committed rows under its own changes.

    Nothing reaches the table before `apply`, and then only the changed rows: transactions that
    overlap do not undo each other's changes.
    """

    def __init__(self, table: MutableMapping[K, V]) -> None:
        self._table = table
        self._changed: dict[K, V | _Gone] = {}

    def apply(self) -> None:
        """Write the changes to the table."""
        for key, value in self._changed.items():
            if isinstance(value, _Gone):
                self._table.pop(key, None)
            else:
                self._table[key] = value
        self._changed.clear()

    @override
    def __getitem__(self, key: K) -> V:
        if key not in self._changed:
            return self._table[key]
        value = self._changed[key]
        if isinstance(value, _Gone):
            raise KeyError(key)
        return value

    @override
    def __setitem__(self, key: K, value: V) -> None:
        self._changed[key] = value

    @override
    def __delitem__(self, key: K) -> None:
        self._changed[key] = _Gone.GONE

    @override
    def __iter__(self) -> Iterator[K]:
        keys = dict.fromkeys([*self._table, *self._changed])
        return iter([key for key in keys if self._changed.get(key) is not _Gone.GONE])

    @override
    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything that is stored; a row is an immutable entity."""

    customers: MutableMapping[CustomerId, Customer] = field(default_factory=dict)
    sessions: MutableMapping[SessionId, Session] = field(default_factory=dict)
    tokens: MutableMapping[RefreshTokenHash, RefreshToken] = field(default_factory=dict)
    api_keys: MutableMapping[ApiKeyId, ApiKey] = field(default_factory=dict)
    lists: MutableMapping[CustomerId, ListState] = field(default_factory=dict)
    favorites: MutableMapping[tuple[CustomerId, ProductId], Listed] = field(default_factory=dict)
    tombstones: MutableMapping[tuple[CustomerId, ProductId], Tombstone] = field(
        default_factory=dict
    )
    products: MutableMapping[ProductId, CachedProduct | UnknownProduct] = field(
        default_factory=dict
    )
    prices: MutableMapping[ProductId, tuple[PricePoint, ...]] = field(default_factory=dict)
    catalog: MutableMapping[str, CatalogState] = field(default_factory=dict)
    # The version of the catalog's content, and the one in which a product was removed or returned.
    content: MutableMapping[str, int] = field(default_factory=dict)
    states: MutableMapping[ProductId, int] = field(default_factory=dict)
    attempts: MutableMapping[ThrottleKey, tuple[datetime, ...]] = field(default_factory=dict)
    # The products with a queued job that asks for them.
    jobs: MutableMapping[ProductId, None] = field(default_factory=dict)

    def with_changes(self) -> "Tables":
        """Return these tables as a transaction sees them."""
        return Tables(*(Changes(getattr(self, table.name)) for table in fields(self)))

    def apply(self) -> None:
        """Write all changes of a transaction to the tables it began with."""
        for table in fields(self):
            changes = getattr(self, table.name)
            if isinstance(changes, Changes):
                changes.apply()


class Holder:
    """A task that holds a row lock, and an event that is set when it is released."""

    def __init__(self, task: asyncio.Task[object] | None) -> None:
        self.task = task
        self.released = asyncio.Event()


class Locks:
    """Row locks, held until the transaction ends like those of PostgreSQL."""

    def __init__(self) -> None:
        self._holders: dict[Hashable, Holder] = {}
        self._waiting: dict[asyncio.Task[object] | None, Holder] = {}

    async def take(self, key: Hashable, *, held: dict[Hashable, Holder]) -> None:
        """
        Take a lock, or wait for it; `held` are those of this transaction.

        :raises RuntimeError: if this task would wait for itself, directly or through others
        """
        if key in held:
            return
        me = asyncio.current_task()
        while (holder := self._holders.get(key)) is not None:
            self._refuse_deadlock(me, holder)
            self._waiting[me] = holder
            try:
                await holder.released.wait()
            finally:
                del self._waiting[me]
        held[key] = self._holders[key] = Holder(me)

    def _refuse_deadlock(self, me: asyncio.Task[object] | None, holder: Holder) -> None:
        last: Holder | None = holder
        while last is not None:
            if last.task is me:
                raise RuntimeError(
                    "Deadlock: this task waits for a unit of work that waits for it"
                )
            last = self._waiting.get(last.task)

    def release(self, held: dict[Hashable, Holder]) -> None:
        """Release all locks of a transaction."""
        for key, holder in held.items():
            del self._holders[key]
            holder.released.set()
        held.clear()


class Transaction(Protocol):
    """The part of a unit of work that its repositories use."""

    @property
    def tables(self) -> Tables:
        """The tables as this transaction sees them."""

    async def lock(self, *key: Hashable) -> None:
        """Keep other transactions from writing something until this one ends."""


def sortable(value: datetime | Decimal | UUID | int | str) -> str:
    """Format a value so that text compares as the values do; positions consist of such text."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case Decimal():
            return f"{value:020.2f}"
        case int():
            return f"{value:020}"
        case _:
            return str(value)


def page_of(
    items: Iterable[T],
    *,
    by: Callable[[T], Position],
    descending: bool,
    limit: int,
    after: Position | None,
) -> Page[T]:
    """Sort, and return the page after a position."""
    ordered = sorted(items, key=lambda item: _key(by(item)), reverse=descending)
    if after is not None:
        start = _key(after)
        ordered = [
            item
            for item in ordered
            if (_key(by(item)) < start if descending else _key(by(item)) > start)
        ]
    items_on_page = ordered[:limit]
    more = len(ordered) > limit
    return Page(items=items_on_page, next=by(items_on_page[-1]) if more else None)


def _key(position: Position) -> tuple[str, ...]:
    return tuple(part or "" for part in position)
