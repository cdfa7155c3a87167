from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from typing_extensions import override

from app.domain.favorite import Favorite
from app.domain.repository import Additions
from app.infra.postgres.lookup.batch import Batch
from app.infra.postgres.lookup.lanes import Lanes

_ADD = "SELECT n, added FROM add_favorites($1, $2, $3, $4, $5, $6, $7, $8, $9)"


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One addition; never the same as another, so that it need not be looked at to tell."""

    favorite: Favorite
    at_most: int


class PostgresAdditions(Additions):
    """
    The additions of one process; those that come together are one transaction.

    They share one wait for the disk, as transactions that end together do in PostgreSQL, and take
    the locks of products that are popular one after the other and not each from the other.
    """

    def __init__(self, lanes: Lanes, *, patience: timedelta) -> None:
        """Prepare additions that are made within `patience`, or not acknowledged."""
        self._lanes = lanes
        self._batch = Batch(self._add_all, patience=patience)

    @override
    async def add(self, favorite: Favorite, *, at_most: int) -> bool | None:
        if favorite.when_favorited is None:
            return None
        return await self._batch.ask(_Asked(favorite, at_most))

    async def _add_all(self, asked: Collection[_Asked]) -> Mapping[_Asked, bool | None]:
        # Of a customer one at a time: what the others find depends on it.
        keys = list({each.favorite.customer_id: each for each in asked}.values())
        favorites = [each.favorite for each in keys]
        snapshots = [each.when_favorited for each in favorites if each.when_favorited is not None]
        ratings = [snapshot.rating for snapshot in snapshots]
        rows = await self._lanes.fetch(
            _ADD,
            [favorite.customer_id for favorite in favorites],
            [favorite.product_id for favorite in favorites],
            [favorite.favorited_at for favorite in favorites],
            [snapshot.title for snapshot in snapshots],
            [snapshot.price for snapshot in snapshots],
            [snapshot.image for snapshot in snapshots],
            [None if rating is None else rating.rate for rating in ratings],
            [None if rating is None else rating.count for rating in ratings],
            min(each.at_most for each in keys),
        )
        done = {keys[n - 1]: added for n, added in rows}
        return {key: done.get(key) for key in asked}

    async def aclose(self) -> None:
        """Give up what is under way."""
        await self._batch.aclose()
