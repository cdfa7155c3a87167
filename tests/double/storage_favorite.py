from dataclasses import dataclass, replace
from datetime import datetime

from typing_extensions import override

from app.domain.favorite import Snapshot
from app.domain.product import ProductId
from app.domain.repository import FavoriteRepository
from tests.double.storage_list import lock_list, next_version
from tests.double.storage_table import Transaction


@dataclass(frozen=True, slots=True)
class InMemoryFavoriteRepository(FavoriteRepository):
    _transaction: Transaction

    @override
    async def confirm(self, product_id: ProductId, snapshot: Snapshot) -> int:
        return await self._settle(product_id, when_favorited=snapshot, rejected_at=None)

    @override
    async def reject(self, product_id: ProductId, *, now: datetime) -> int:
        return await self._settle(product_id, when_favorited=None, rejected_at=now)

    async def _settle(
        self,
        product_id: ProductId,
        *,
        when_favorited: Snapshot | None,
        rejected_at: datetime | None,
    ) -> int:
        tables, settled = self._transaction.tables, 0
        for key in sorted(key for key in tables.favorites if key[1] == product_id):
            await lock_list(self._transaction, key[0])
            listed = tables.favorites.get(key)
            if listed is not None and listed.favorite.pending:
                tables.favorites[key] = replace(
                    listed,
                    favorite=replace(
                        listed.favorite, when_favorited=when_favorited, rejected_at=rejected_at
                    ),
                    changed_in=next_version(tables, key[0]),
                )
                settled += 1
        return settled

    @override
    async def forget_removed(self, *, restorable_since: datetime, since: datetime) -> int:
        tables, changed = self._transaction.tables, 0
        for key, tombstone in sorted(tables.tombstones.items(), key=lambda row: row[0]):
            if tombstone.removed_at >= restorable_since:
                continue
            await lock_list(self._transaction, key[0])
            if tombstone.favorite is not None:
                tables.tombstones[key] = replace(tombstone, favorite=None)
                changed += 1
            if tombstone.removed_at < since:
                del tables.tombstones[key]
                state = tables.lists[key[0]]
                tables.lists[key[0]] = replace(
                    state, forgotten_to=max(state.forgotten_to, tombstone.changed_in)
                )
                changed += 1
        return changed
