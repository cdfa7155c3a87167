"""Writes to single favorites of many customers that share a call of an SQL function."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias, TypeVar

from app.domain.access import SessionCheck
from app.domain.customer import CustomerId
from app.domain.favorite import Favorite
from app.domain.product import ProductId
from app.domain.writes import AddOutcome, AddResult, FavoriteLimits, RemoveOutcome
from app.infra.postgres.queries.customer_read import latest
from app.infra.postgres.row_cache import Version
from app.infra.postgres.rows import SNAPSHOT_COLUMNS, read_snapshot

FavoriteKey: TypeAlias = tuple[CustomerId, ProductId]
Fetch: TypeAlias = Callable[..., Awaitable[Sequence[Any]]]

# Arrays of versions are sent as text: for their own type the driver would ask the server first.
_ADD = f"""
    SELECT f.n, f.outcome, f.favorited_at, {SNAPSHOT_COLUMNS}, f.enqueued
    FROM add_favorites(
        $1, $2, $3, $4, $5::text[]::xid[], $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, false
    ) AS f"""  # noqa: S608 - constants
_REMOVE = "SELECT n, outcome FROM remove_favorites($1, $2, $3, $4, $5, $6)"
_LOCKED = "locked"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Add:
    """An addition. Two equal ones are two writes, so they are not compared."""

    favorite: Favorite
    limits: FavoriteLimits
    version: Version | None
    session: SessionCheck | None
    traceparent: str | None

    @property
    def key(self) -> FavoriteKey:
        """The favorite that is written."""
        return self.favorite.customer_id, self.favorite.product_id


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Remove:
    """A removal. Two equal ones are two writes, so they are not compared."""

    key: FavoriteKey
    now: datetime
    session: SessionCheck | None
    limits: None = None


class Added(NamedTuple):
    """The result of an addition; `enqueued` is None if it needed no job."""

    result: AddResult
    enqueued: bool | None


Write = TypeVar("Write", Add, Remove)
Result = TypeVar("Result")


async def add_favorites(fetch: Fetch, adds: Sequence[Add], *, wait: bool) -> list[Added | None]:
    """
    Add favorites, each at most once and all with the same limits.

    A result is None if another transaction had locked the list; with `wait` it is waited for.
    """
    favorites = [add.favorite for add in adds]
    limits = adds[0].limits
    rows = await fetch(
        _ADD,
        *_owners(adds),
        [favorite.product_id for favorite in favorites],
        [None if add.version is None else str(add.version) for add in adds],
        *content(favorites),
        [add.traceparent for add in adds],
        limits.total,
        limits.pending,
        wait,
    )
    results: list[Added | None] = [None] * len(adds)
    for n, outcome, favorited_at, title, price, image, rate, count, enqueued in rows:
        if outcome == _LOCKED:
            continue
        asked, stored = favorites[n - 1], None
        if outcome == AddOutcome.ADDED:
            stored = asked
        elif outcome == AddOutcome.PRESENT:
            stored = Favorite(
                customer_id=asked.customer_id,
                product_id=asked.product_id,
                favorited_at=favorited_at,
                when_favorited=read_snapshot(title, price, image, rate, count),
            )
        results[n - 1] = Added(AddResult(outcome=AddOutcome(outcome), favorite=stored), enqueued)
    return results


async def remove_favorites(
    fetch: Fetch, removes: Sequence[Remove], *, wait: bool
) -> list[RemoveOutcome | None]:
    """
    Remove favorites, each at most once.

    A result is None if another transaction had locked the list; with `wait` it is waited for.
    """
    outcomes = dict(
        await fetch(
            _REMOVE,
            *_owners(removes),
            [remove.key[1] for remove in removes],
            [remove.now for remove in removes],
            wait,
        )
    )
    return [
        None if (outcome := outcomes[n]) == _LOCKED else RemoveOutcome(outcome)
        for n in range(1, len(removes) + 1)
    ]


async def in_calls(
    call: Callable[[Sequence[Write]], Awaitable[Sequence[Result]]], writes: Sequence[Write]
) -> list[Result]:
    """Make writes in one call, or in several if they write one favorite more than once."""
    results: dict[Write, Result] = {}
    remaining = writes
    while remaining:
        batch: dict[FavoriteKey, Write] = {}
        for write in remaining:
            if write.limits == remaining[0].limits:
                batch.setdefault(write.key, write)
        results.update(zip(batch.values(), await call(list(batch.values())), strict=True))
        remaining = [write for write in remaining if write not in results]
    return [results[write] for write in writes]


def content(favorites: Sequence[Favorite | None]) -> tuple[list[Any], ...]:
    """Return when each was favorited; title, price, image, rate and votes of its snapshot."""
    snapshots = [None if each is None else each.when_favorited for each in favorites]
    ratings = [None if each is None else each.rating for each in snapshots]
    return (
        [None if each is None else each.favorited_at for each in favorites],
        [None if each is None else each.title for each in snapshots],
        [None if each is None else each.price for each in snapshots],
        [None if each is None else each.image for each in snapshots],
        [None if each is None else each.rate for each in ratings],
        [None if each is None else each.count for each in ratings],
    )


def _owners(
    writes: Sequence[Add] | Sequence[Remove],
) -> tuple[list[Any], list[Any], datetime | None]:
    """Return the customers, their sessions, and the moment at which these have to be active."""
    sessions = [write.session for write in writes]
    return (
        [write.key[0] for write in writes],
        [None if session is None else session.session_id for session in sessions],
        latest(sessions),
    )
