"""The history of a list since a position, as the database returns it."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.favorite import (
    ChangeKind,
    ChangePosition,
    Changes,
    FavoriteChange,
    FavoriteItem,
)
from app.domain.outcome import ChangesForgotten
from app.domain.product import MAX_PRODUCT_ID, ProductId


@dataclass(frozen=True, slots=True)
class Event:
    """The last change of a favorite; `item` is its current state, None if it was removed."""

    product_id: ProductId
    changed_in: int
    added_in: int
    item: FavoriteItem | None

    def kind(self, since: ChangePosition) -> ChangeKind:
        """Return what happened for a client that knows the list up to a position."""
        if self.item is None:
            return ChangeKind.REMOVED
        known = (self.added_in, self.product_id) <= (since.version, since.product_id)
        return ChangeKind.CHANGED if known and not since.from_beginning else ChangeKind.ADDED


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """
    The events after a position, one more than asked for if there are more.

    `version` is that of the list; removals up to `forgotten_to` may be forgotten.
    """

    version: int
    forgotten_to: int
    behind: bool
    events: Sequence[Event]

    def refusal(self, since: ChangePosition) -> ChangesForgotten | None:
        """Return the outcome if changes after a position may be missing."""
        begun_at = since.began or since.version
        if begun_at and not self.forgotten_to <= begun_at <= self.version:
            return ChangesForgotten("The changes since then are not remembered any more")
        return None

    def changes(self, since: ChangePosition, limit: int) -> Changes:
        """Return the first of the events."""
        page = self.events[:limit]
        began = (since.began or self.version) if since.from_beginning else 0
        if more := len(self.events) > limit:
            last = page[-1]
            seen = ChangePosition(version=last.changed_in, product_id=last.product_id, began=began)
        else:
            reached = began if since.from_beginning else self.version
            # A list without a version has no history but the beginning.
            seen = ChangePosition(reached, MAX_PRODUCT_ID) if reached else ChangePosition()
            more = reached < self.version
        return Changes(
            items=[
                FavoriteChange(
                    product_id=event.product_id, kind=event.kind(since), item=event.item
                )
                for event in page
            ],
            seen=seen,
            more=more,
            behind=self.behind,
        )
