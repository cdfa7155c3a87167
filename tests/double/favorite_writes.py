from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from typing_extensions import override

from app.domain.access import SessionCheck
from app.domain.customer import CustomerId
from app.domain.favorite import Favorite
from app.domain.outcome import CustomerNotFound
from app.domain.product import CachedProduct, ProductId
from app.domain.writes import (
    AddOutcome,
    AddResult,
    FavoriteLimits,
    FavoriteWrites,
    RemoveOutcome,
    RestoreOutcome,
)
from tests.double.storage import InMemoryStorage
from tests.double.storage_history import changed_states, content_version
from tests.double.storage_list import add_to_list, enqueue_job, lock_list, next_version
from tests.double.storage_table import Tables, Tombstone


@dataclass(frozen=True, slots=True)
class InMemoryFavoriteWrites(FavoriteWrites):
    """The writes to lists of favorites, each in a unit of work of its own."""

    _storage: InMemoryStorage

    @override
    async def add(
        self,
        favorite: Favorite,
        *,
        limits: FavoriteLimits,
        seen: CachedProduct | None = None,
        session: SessionCheck | None = None,
    ) -> AddResult:
        customer_id, product_id = favorite.customer_id, favorite.product_id
        async with self._storage() as work:
            if not session_is_valid(work.tables, customer_id, session):
                return AddResult(outcome=AddOutcome.SESSION_ENDED)
            if not await lock_list(work, customer_id):
                return AddResult(outcome=AddOutcome.NO_CUSTOMER)
            changed = seen is not None and work.tables.products.get(product_id) != seen
            outcome = _add(
                work.tables,
                customer_id,
                product_id,
                favorite,
                limits,
                refusal=AddOutcome.PRODUCT_CHANGED if changed else None,
            )
            if outcome is AddOutcome.ADDED and favorite.pending:
                await enqueue_job(work, product_id)
            await work.commit()
            stored = outcome in {AddOutcome.ADDED, AddOutcome.PRESENT}
            return AddResult(
                outcome=outcome,
                favorite=(
                    work.tables.favorites[customer_id, product_id].favorite if stored else None
                ),
            )

    @override
    async def remove(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        now: datetime,
        session: SessionCheck | None = None,
    ) -> RemoveOutcome:
        async with self._storage() as work:
            if not session_is_valid(work.tables, customer_id, session):
                return RemoveOutcome.SESSION_ENDED
            if not await lock_list(work, customer_id):
                return RemoveOutcome.NO_CUSTOMER
            outcome = _remove(work.tables, customer_id, product_id, now)
            await work.commit()
            return outcome

    @override
    async def restore(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        removed_since: datetime,
        limits: FavoriteLimits,
    ) -> RestoreOutcome:
        key = (customer_id, product_id)
        async with self._storage() as work:
            if not await lock_list(work, customer_id):
                return RestoreOutcome.NO_CUSTOMER
            if key in work.tables.favorites:
                return RestoreOutcome.PRESENT
            tombstone = work.tables.tombstones.get(key)
            if (
                tombstone is None
                or tombstone.favorite is None
                or tombstone.removed_at < removed_since
            ):
                return RestoreOutcome.NOT_RESTORABLE
            if _size(work.tables, customer_id) >= limits.total:
                return RestoreOutcome.FULL
            add_to_list(work.tables, tombstone.favorite)
            if tombstone.favorite.pending:
                await enqueue_job(work, product_id)
            await work.commit()
            return RestoreOutcome.RESTORED

    @override
    async def change(
        self,
        customer_id: CustomerId,
        *,
        add: Mapping[ProductId, Favorite | None],
        remove: Collection[ProductId] = (),
        now: datetime,
        limits: FavoriteLimits,
        dry_run: bool = False,
    ) -> Mapping[ProductId, AddOutcome | RemoveOutcome]:
        outcomes: dict[ProductId, AddOutcome | RemoveOutcome] = {}
        async with self._storage() as work:
            exists = (
                customer_id in work.tables.customers
                if dry_run
                else await lock_list(work, customer_id)
            )
            if not exists:
                raise CustomerNotFound
            for product_id in sorted(remove):
                outcomes[product_id] = _remove(work.tables, customer_id, product_id, now)
            for product_id, favorite in sorted(add.items()):
                outcome = _add(work.tables, customer_id, product_id, favorite, limits)
                outcomes[product_id] = outcome
            if dry_run:
                return outcomes
            for product_id, favorite in sorted(add.items()):
                if outcomes[product_id] is AddOutcome.ADDED and favorite and favorite.pending:
                    await enqueue_job(work, product_id)
            await work.commit()
        return outcomes

    @override
    async def enter_catalog_changes(self, customer_id: CustomerId) -> None:
        async with self._storage() as work:
            await lock_list(work, customer_id)
            tables = work.tables
            concerned = changed_states(tables, customer_id)
            if not concerned:
                return
            version = next_version(tables, customer_id)
            tables.lists[customer_id] = replace(
                tables.lists[customer_id], catalog_seen=content_version(tables)
            )
            for product_id in concerned:
                key = (customer_id, product_id)
                tables.favorites[key] = replace(tables.favorites[key], changed_in=version)
            await work.commit()


def session_is_valid(
    tables: Tables, customer_id: CustomerId, session: SessionCheck | None
) -> bool:
    """Tell whether a session is active and the customer's; without one nothing is checked."""
    if session is None:
        return True
    stored = tables.sessions.get(session.session_id)
    return stored is not None and stored.customer_id == customer_id and stored.active(session.at)


def _add(
    tables: Tables,
    customer_id: CustomerId,
    product_id: ProductId,
    favorite: Favorite | None,
    limits: FavoriteLimits,
    *,
    refusal: AddOutcome | None = None,
) -> AddOutcome:
    """Add a favorite; `refusal` is the outcome if its product cannot be added."""
    present = tables.favorites.get((customer_id, product_id))
    if present is not None and present.favorite.rejected_at is None:
        return AddOutcome.PRESENT
    if favorite is None or refusal is not None:
        return refusal or AddOutcome.NO_PRODUCT
    if present is None and _size(tables, customer_id) >= limits.total:
        return AddOutcome.FULL
    if favorite.pending and _pending(tables, customer_id) >= limits.pending:
        return AddOutcome.TOO_MANY_PENDING
    add_to_list(tables, favorite)
    return AddOutcome.ADDED


def _remove(
    tables: Tables, customer_id: CustomerId, product_id: ProductId, now: datetime
) -> RemoveOutcome:
    listed = tables.favorites.pop((customer_id, product_id), None)
    if listed is None:
        return RemoveOutcome.ABSENT
    tables.tombstones[customer_id, product_id] = Tombstone(
        changed_in=next_version(tables, customer_id), removed_at=now, favorite=listed.favorite
    )
    return RemoveOutcome.REMOVED


def _size(tables: Tables, customer_id: CustomerId) -> int:
    return sum(1 for owner, _ in tables.favorites if owner == customer_id)


def _pending(tables: Tables, customer_id: CustomerId) -> int:
    favorites = tables.favorites.items()
    return sum(1 for (owner, _), f in favorites if owner == customer_id and f.favorite.pending)
