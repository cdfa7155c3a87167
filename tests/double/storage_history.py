"""The history of a list of favorites: the versions in which each was last changed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from app.domain.customer import CustomerId
from app.domain.favorite import (
    ChangeKind,
    ChangePosition,
    Changes,
    FavoriteChange,
    FavoriteItem,
)
from app.domain.outcome import ChangesForgotten
from app.domain.product import MAX_PRODUCT_ID, ProductId
from tests.double.storage_table import ListState, Tables

CONTENT = "the only number"


def content_version(tables: Tables) -> int:
    """Return the version of the content of the catalog."""
    return tables.content.get(CONTENT, 0)


def changed_states(tables: Tables, customer_id: CustomerId) -> Collection[ProductId]:
    """Return the favorites whose products were removed or returned since the last entry."""
    state = tables.lists.get(customer_id)
    if state is None:
        return []
    seen = state.catalog_seen
    return [
        p for owner, p in tables.favorites if owner == customer_id and _state(tables, p) > seen
    ]


def _state(tables: Tables, product_id: ProductId) -> int:
    return tables.states.get(product_id, 0)


@dataclass(frozen=True, slots=True)
class History:
    """The events after a position, in order: the last one of each favorite."""

    version: int
    events: Sequence["Event"]

    def changes(
        self,
        since: ChangePosition,
        limit: int,
        items: Mapping[ProductId, FavoriteItem | None],
    ) -> Changes:
        """Return the first events with the items of the list."""
        page, walking = self.events[:limit], since.from_beginning
        began = since.began or self.version
        more = len(self.events) > limit
        if more:
            seen = ChangePosition(*page[-1].position, began if walking else 0)
        elif self.version == 0:
            seen = ChangePosition()
        else:
            seen = ChangePosition(began if walking else self.version, MAX_PRODUCT_ID)
            more = seen.version < self.version
        return Changes(
            items=[
                FavoriteChange(
                    product_id=event.product_id,
                    kind=event.kind_since(since),
                    item=items[event.product_id],
                )
                for event in page
            ],
            seen=seen,
            more=more,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """A change in a version; `added_in` is None if the favorite was removed."""

    changed_in: int
    product_id: ProductId
    added_in: int | None

    @property
    def position(self) -> tuple[int, int]:
        """The position of this event."""
        return (self.changed_in, self.product_id)

    def kind_since(self, since: ChangePosition) -> ChangeKind:
        """Return the kind of this event for a client that knows the list up to a position."""
        if self.added_in is None:
            return ChangeKind.REMOVED
        added = (self.added_in, self.product_id) > (since.version, since.product_id)
        return ChangeKind.ADDED if added or since.from_beginning else ChangeKind.CHANGED


def history_of(tables: Tables, customer_id: CustomerId, since: ChangePosition) -> History:
    """
    Return the events of a list after a position.

    :raises ChangesForgotten: if they are not complete any more
    """
    state = tables.lists.get(customer_id, ListState())
    begun_at = since.began or since.version
    if begun_at > state.version or 0 < begun_at < state.forgotten_to:
        raise ChangesForgotten("The changes since then are not remembered any more")
    events = [
        Event(row.changed_in, product_id, row.added_in)
        for (owner, product_id), row in tables.favorites.items()
        if owner == customer_id
    ]
    if not since.from_beginning:
        events += [
            Event(row.changed_in, product_id, None)
            for (owner, product_id), row in tables.tombstones.items()
            if owner == customer_id
        ]
    start = (since.version, since.product_id)
    return History(
        version=state.version,
        events=sorted((e for e in events if e.position > start), key=lambda e: e.position),
    )
