from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from typing_extensions import override

from app.domain.access import SessionClaim
from app.domain.favorite import Favorite, KeptFavorite
from app.domain.product import CachedProduct
from app.domain.repository import Additions
from app.infra.postgres.batcher import Batch
from app.infra.postgres.lookup.claims import latest, session_ids
from app.infra.postgres.lookup.snapshots import read_snapshot
from app.infra.postgres.row_cache import Copies, Version
from app.infra.postgres.statement_pool import Lanes

# Arrays of versions go as text: of their type the driver would have to ask first.
_ADD = """
    SELECT n, added, favorited_at, snapshot_title, snapshot_price::text, snapshot_image,
        snapshot_rate::text, snapshot_rating_count
    FROM add_favorites($1, $2, $3, $4, $5::text[]::xid[], $6, $7, $8, $9, $10, $11, $12)"""


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One addition; never the same as another, so that it need not be looked at to tell."""

    favorite: Favorite
    at_most: int
    version: Version | None
    claim: SessionClaim | None


class PostgresAdditions(Additions):
    """
    The additions of one process; those that come together are one transaction.

    They share one wait for the disk, as transactions that end together do in PostgreSQL, and take
    the locks of products that are popular one after the other and not each from the other.
    """

    def __init__(self, lanes: Lanes, copies: Copies, *, patience: timedelta) -> None:
        """Prepare additions that are made within `patience`, or not acknowledged."""
        self._lanes = lanes
        self._copies = copies
        self._batch = Batch(self._add_all, patience=patience)

    @override
    async def add(
        self,
        favorite: Favorite,
        *,
        at_most: int,
        seen: CachedProduct | None = None,
        claim: SessionClaim | None = None,
    ) -> KeptFavorite | None:
        version = None if seen is None else self._copies.version(seen)
        if favorite.when_favorited is None or (seen is not None and version is None):
            return None
        return await self._batch.ask(_Asked(favorite, at_most, version, claim))

    async def _add_all(self, asked: Collection[_Asked]) -> Mapping[_Asked, KeptFavorite | None]:
        # Of a customer one at a time: what the others find depends on it.
        keys = list({each.favorite.customer_id: each for each in asked}.values())
        favorites = [each.favorite for each in keys]
        snapshots = [each.when_favorited for each in favorites if each.when_favorited is not None]
        ratings = [snapshot.rating for snapshot in snapshots]
        claims = [each.claim for each in keys]
        rows = await self._lanes.fetch(
            _ADD,
            [favorite.customer_id for favorite in favorites],
            session_ids(claims),
            latest(claims),
            [favorite.product_id for favorite in favorites],
            [None if each.version is None else str(each.version) for each in keys],
            [favorite.favorited_at for favorite in favorites],
            [snapshot.title for snapshot in snapshots],
            [snapshot.price for snapshot in snapshots],
            [snapshot.image for snapshot in snapshots],
            [None if rating is None else rating.rate for rating in ratings],
            [None if rating is None else rating.count for rating in ratings],
            min(each.at_most for each in keys),
        )
        done: dict[_Asked, KeptFavorite] = {}
        for n, added, favorited_at, title, price, image, rate, count in rows:
            key = keys[n - 1]
            stored = key.favorite
            if not added:
                stored = Favorite(
                    customer_id=stored.customer_id,
                    product_id=stored.product_id,
                    favorited_at=favorited_at,
                    when_favorited=read_snapshot(title, price, image, rate, count),
                )
            done[key] = KeptFavorite(favorite=stored, created=added)
        return {key: done.get(key) for key in asked}

    async def aclose(self) -> None:
        """Give up what is under way."""
        await self._batch.aclose()
