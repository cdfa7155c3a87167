from dataclasses import dataclass
from datetime import datetime

from typing_extensions import override

from app.domain.favorite import Snapshot
from app.domain.product import ProductId
from app.domain.repository import FavoriteRepository
from app.infra.postgres.repository import favorite_sql
from app.infra.postgres.transaction import Transaction

FORGOTTEN_MAX = 5_000
"""How many removed favorites are forgotten in one unit of work, at most."""


@dataclass(frozen=True, slots=True)
class PostgresFavoriteRepository(FavoriteRepository):
    """Locks as documented in `favorite_sql`."""

    _transaction: Transaction

    @override
    async def confirm(self, product_id: ProductId, snapshot: Snapshot) -> int:
        return await self._settle(product_id, snapshot=snapshot)

    @override
    async def reject(self, product_id: ProductId, *, now: datetime) -> int:
        return await self._settle(product_id, rejected_at=now)

    async def _settle(
        self,
        product_id: ProductId,
        *,
        snapshot: Snapshot | None = None,
        rejected_at: datetime | None = None,
    ) -> int:
        [(customer_ids,)] = await self._transaction.sql(
            favorite_sql.LOCK_LISTS_WITH_PENDING, product_id=product_id
        )
        if not customer_ids:
            return 0
        rating = snapshot.rating if snapshot else None
        settled = await self._transaction.sql(
            favorite_sql.SETTLE,
            product_id=product_id,
            customer_ids=customer_ids,
            snapshot_title=snapshot.title if snapshot else None,
            snapshot_price=snapshot.price if snapshot else None,
            snapshot_image=snapshot.image if snapshot else None,
            snapshot_rate=rating.rate if rating else None,
            snapshot_rating_count=rating.count if rating else None,
            rejected_at=rejected_at,
        )
        return len(settled)

    @override
    async def forget_removed(self, *, restorable_since: datetime, since: datetime) -> int:
        emptied = await self._transaction.sql(
            favorite_sql.FORGET_CONTENT, before=restorable_since, limit=FORGOTTEN_MAX
        )
        locked = await self._transaction.sql(
            favorite_sql.LOCK_LISTS_TO_FORGET_IN, before=since, limit=FORGOTTEN_MAX
        )
        if not locked:
            return len(emptied)
        [(forgotten,)] = await self._transaction.sql(
            favorite_sql.FORGET, customer_ids=[row[0] for row in locked], before=since
        )
        return len(emptied) + int(forgotten)
