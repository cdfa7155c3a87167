"""What became of a list since a position, as the database tells it."""

from collections.abc import Mapping, Sequence
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
from app.infra.postgres.transaction import AnyRow


@dataclass(frozen=True, slots=True)
class Event:
    """The last thing that happened to a favorite; the names are those of the columns."""

    product_id: ProductId
    changed_in: int
    added_in: int
    removed: bool

    def kind(self, since: ChangePosition) -> ChangeKind:
        """Say what that is to somebody who knows the list up to a position."""
        if self.removed:
            return ChangeKind.REMOVED
        seen = (self.added_in, self.product_id) <= (since.version, since.product_id)
        return ChangeKind.CHANGED if seen and not since.from_beginning else ChangeKind.ADDED


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """
    The events after a position, one more than asked for if there is one.

    `behind`: what the catalog did to products is not part of it yet.
    """

    version: int
    forgotten_to: int
    behind: bool
    events: Sequence[Event]

    @classmethod
    def of(cls, rows: Sequence[AnyRow]) -> "History":
        """Read what `HISTORY` returns: at least one row, whose event is null if there is none."""
        version, forgotten_to, behind, *_ = rows[0]
        events = [Event(*row[3:]) for row in rows if row[3] is not None]
        return cls(version=version, forgotten_to=forgotten_to, behind=behind, events=events)

    def refuse_forgotten(self, since: ChangePosition) -> None:
        """
        Make sure that nothing is missing after a position.

        :raises ChangesForgotten: if something is
        """
        begun_at = since.began or since.version
        if begun_at and not self.forgotten_to <= begun_at <= self.version:
            raise ChangesForgotten("The changes since then are not remembered any more")

    def changes(
        self, since: ChangePosition, limit: int, items: Mapping[int, FavoriteItem]
    ) -> Changes:
        """Return the events with what the list shows; what has been removed by now is left out."""
        page = self.events[:limit]
        began = (since.began or self.version) if since.from_beginning else 0
        if more := len(self.events) > limit:
            last = page[-1]
            seen = ChangePosition(version=last.changed_in, product_id=last.product_id, began=began)
        else:
            reached = began if since.from_beginning else self.version
            # Before there was a version there is nothing but the beginning.
            seen = ChangePosition(reached, MAX_PRODUCT_ID) if reached else ChangePosition()
            more = reached < self.version
        return Changes(
            items=[
                FavoriteChange(
                    product_id=event.product_id,
                    kind=event.kind(since),
                    item=items.get(event.product_id),
                )
                for event in page
                if event.removed or event.product_id in items
            ],
            seen=seen,
            more=more,
        )
