"""Products as they were when they were favorited, from the columns of a row."""

from decimal import Decimal
from typing import Any, TypeAlias

from app.domain.favorite import Snapshot
from app.domain.product import Rating

Columns: TypeAlias = tuple[Any, ...]


class Snapshots:
    """Spares building again what many favorites of a product have in common."""

    _KEPT = 4_000

    def __init__(self) -> None:
        self._known: dict[Columns, Snapshot | None] = {}

    def get(self, columns: Columns) -> Snapshot | None:
        """Return the snapshot of title, price, image, rate and number of votes."""
        try:
            return self._known[columns]
        except KeyError:
            if len(self._known) >= self._KEPT:
                self._known.clear()
            snapshot = self._known[columns] = read_snapshot(*columns)
            return snapshot


def read_snapshot(
    title: str | None, price: str | None, image: str | None, rate: str | None, count: int | None
) -> Snapshot | None:
    """Return what the columns say; None if the product was not known when it was favorited."""
    if title is None or price is None or image is None:
        return None
    return Snapshot(
        title=title,
        price=Decimal(price),
        image=image,
        rating=None if rate is None or count is None else Rating(rate=Decimal(rate), count=count),
    )
