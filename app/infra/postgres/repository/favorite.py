from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Integer, any_, func, tuple_
from sqlalchemy.orm import Mapped
from sqlmodel import and_, col, literal, or_, select
from sqlmodel.sql.expression import Select
from typing_extensions import override

from app.domain.customer import CustomerId, fold
from app.domain.favorite import (
    ChangePosition,
    Changes,
    Favorite,
    FavoriteItem,
    FavoriteQuery,
    FavoriteSort,
    ListVersion,
    RemovedFavorite,
    Snapshot,
)
from app.domain.outcome import CustomerNotFound, FavoritesFull
from app.domain.page import Page, Position
from app.domain.product import ProductId
from app.domain.repository import FavoriteRepository
from app.infra.postgres.orm.customer import CustomerRow
from app.infra.postgres.orm.favorite import FavoriteRow, ListRow, TombstoneRow
from app.infra.postgres.orm.product import ProductRow
from app.infra.postgres.repository import favorite_sql
from app.infra.postgres.repository.favorite_history import History
from app.infra.postgres.transaction import Transaction

FORGOTTEN_AT_ONCE = 5_000
"""So many removed favorites, at the most, are forgotten in one unit of work."""


@dataclass(frozen=True, slots=True)
class PostgresFavoriteRepository(FavoriteRepository):
    """
    What is locked in which order is said in `favorite_sql`.

    Whoever writes several favorites of a customer in one unit of work does so in the order of
    products.
    """

    _transaction: Transaction

    @override
    async def put(self, favorite: Favorite, *, at_most: int) -> bool:
        if not await self._lock(favorite.customer_id):
            raise CustomerNotFound("There is no such customer")
        row = FavoriteRow.from_entity(favorite)
        [(added, present)] = await self._transaction.sql(
            favorite_sql.PUT,
            **row.model_dump(exclude={"added_in", "changed_in"}),
            at_most=at_most,
        )
        if not added and not present:
            raise FavoritesFull("The list of favorites is full")
        return bool(added)

    @override
    async def get(self, customer_id: CustomerId, product_id: ProductId) -> FavoriteItem | None:
        rows = await self._transaction.rows(
            _items(customer_id).where(FavoriteRow.product_id == product_id)
        )
        return _item(*rows[0]) if rows else None

    @override
    async def list_page(self, query: FavoriteQuery) -> Page[FavoriteItem]:
        statement = _items(query.customer_id)
        if query.category is not None:
            statement = statement.where(col(ProductRow.category) == query.category)
        if query.q is not None:
            statement = statement.where(func.strpos(col(ProductRow.title_key), fold(query.q)) > 0)
        if query.after is not None:
            statement = statement.where(_behind(query.after, query.sort))
        rows = await self._transaction.rows(
            statement.order_by(*_order(query.sort)).limit(query.limit + 1)
        )
        items = [_item(*row) for row in rows[: query.limit]]
        more = len(rows) > query.limit
        return Page(items=items, next=_position(items[-1], query.sort) if more else None)

    @override
    async def list_all(self, customer_id: CustomerId) -> Sequence[FavoriteItem]:
        rows = await self._transaction.rows(
            _items(customer_id).order_by(
                col(FavoriteRow.favorited_at).desc(), col(FavoriteRow.product_id).desc()
            )
        )
        return [_item(*row) for row in rows]

    @override
    async def list_removed(self, customer_id: CustomerId) -> Sequence[RemovedFavorite]:
        rows = await self._transaction.rows(
            select(TombstoneRow.product_id, TombstoneRow.removed_at)
            .where(TombstoneRow.customer_id == customer_id)
            .order_by(col(TombstoneRow.removed_at).desc(), col(TombstoneRow.product_id).desc())
        )
        return [
            RemovedFavorite(product_id=ProductId(product_id), removed_at=removed_at)
            for product_id, removed_at in rows
        ]

    @override
    async def contains(
        self, customer_id: CustomerId, product_ids: Collection[ProductId]
    ) -> frozenset[ProductId]:
        found = await self._transaction.all(
            select(FavoriteRow.product_id).where(
                FavoriteRow.customer_id == customer_id,
                col(FavoriteRow.product_id) == any_(_array(product_ids)),
            )
        )
        return frozenset(ProductId(product_id) for product_id in found)

    @override
    async def remove(
        self, customer_id: CustomerId, product_id: ProductId, *, now: datetime
    ) -> bool:
        if not await self._lock(customer_id):
            return False
        [(removed,)] = await self._transaction.sql(
            favorite_sql.REMOVE, customer_id=customer_id, product_id=product_id, now=now
        )
        return bool(removed)

    @override
    async def restore(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        removed_since: datetime,
        at_most: int,
    ) -> bool:
        if not await self._lock(customer_id):
            return False
        [(restored, restorable)] = await self._transaction.sql(
            favorite_sql.RESTORE,
            customer_id=customer_id,
            product_id=product_id,
            removed_since=removed_since,
            at_most=at_most,
        )
        if restorable and not restored:
            raise FavoritesFull("The list of favorites is full")
        return bool(restored)

    @override
    async def version(self, customer_id: CustomerId) -> ListVersion:
        [(favorites, catalog)] = await self._transaction.sql(
            favorite_sql.VERSION, customer_id=customer_id
        )
        return ListVersion(favorites=favorites, catalog=catalog)

    @override
    async def list_changes(
        self, customer_id: CustomerId, *, since: ChangePosition, limit: int
    ) -> Changes:
        history = await self._history(customer_id, since, limit)
        if history.behind and await self._lock(customer_id):
            await self._transaction.sql(favorite_sql.NOTE_STATES, customer_id=customer_id)
            history = await self._history(customer_id, since, limit)
        history.refuse_forgotten(since)
        kept = [event.product_id for event in history.events if not event.removed]
        rows = await self._transaction.rows(
            _items(customer_id).where(col(FavoriteRow.product_id) == any_(_array(kept)))
        )
        items = {row.product_id: _item(row, product) for row, product in rows}
        return history.changes(since, limit, items)

    async def _history(
        self, customer_id: CustomerId, since: ChangePosition, limit: int
    ) -> History:
        rows = await self._transaction.sql(
            favorite_sql.HISTORY,
            customer_id=customer_id,
            since_version=since.version,
            since_product_id=since.product_id,
            from_beginning=since.from_beginning,
            limit=limit + 1,
        )
        return History.of(rows)

    @override
    async def forget_removed(self, *, restorable_since: datetime, since: datetime) -> int:
        emptied = await self._transaction.sql(
            favorite_sql.FORGET_CONTENT, before=restorable_since, limit=FORGOTTEN_AT_ONCE
        )
        locked = await self._transaction.sql(
            favorite_sql.LOCK_LISTS_TO_FORGET_IN, before=since, limit=FORGOTTEN_AT_ONCE
        )
        if not locked:
            return len(emptied)
        [(forgotten,)] = await self._transaction.sql(
            favorite_sql.FORGET, customer_ids=[row[0] for row in locked], before=since
        )
        return len(emptied) + int(forgotten)

    async def _lock(self, customer_id: CustomerId) -> bool:
        """Lock the customer's list; tell whether there is such a customer."""
        return bool(await self._transaction.sql(favorite_sql.LOCK_LIST, customer_id=customer_id))

    @override
    async def count(self, customer_id: CustomerId) -> int:
        size = await self._transaction.first(
            select(col(ListRow.size)).where(ListRow.customer_id == customer_id)
        )
        return size or 0

    @override
    async def count_pending(self, customer_id: CustomerId) -> int:
        await self._transaction.all(
            select(CustomerRow.id)
            .where(CustomerRow.id == customer_id)
            .with_for_update(key_share=True)
        )
        counted = await self._transaction.first(
            select(func.count())
            .select_from(FavoriteRow)
            .where(FavoriteRow.customer_id == customer_id, _PENDING)
        )
        return counted or 0

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
        locked = await self._transaction.sql(
            favorite_sql.LOCK_LISTS_WITH_PENDING, product_id=product_id
        )
        if not locked:
            return 0
        rating = snapshot.rating if snapshot else None
        settled = await self._transaction.sql(
            favorite_sql.SETTLE,
            product_id=product_id,
            customer_ids=[row[0] for row in locked],
            snapshot_title=snapshot.title if snapshot else None,
            snapshot_price=snapshot.price if snapshot else None,
            snapshot_image=snapshot.image if snapshot else None,
            snapshot_rate=rating.rate if rating else None,
            snapshot_rating_count=rating.count if rating else None,
            rejected_at=rejected_at,
        )
        return len(settled)


_PENDING = and_(col(FavoriteRow.snapshot_title).is_(None), col(FavoriteRow.rejected_at).is_(None))

_KEYS: dict[FavoriteSort, Mapped[Any]] = {
    FavoriteSort.NEWEST: col(FavoriteRow.favorited_at),
    FavoriteSort.OLDEST: col(FavoriteRow.favorited_at),
    FavoriteSort.CHEAPEST: col(ProductRow.price),
    FavoriteSort.DEAREST: col(ProductRow.price),
    FavoriteSort.TITLE: col(ProductRow.title_key),
}
_BY_TIME = {FavoriteSort.NEWEST, FavoriteSort.OLDEST}
_DESCENDING = {FavoriteSort.NEWEST, FavoriteSort.DEAREST}


def _items(customer_id: CustomerId) -> Select[FavoriteRow, ProductRow | None]:
    return (
        select(FavoriteRow, ProductRow)
        .join(ProductRow, col(ProductRow.product_id) == col(FavoriteRow.product_id), isouter=True)
        .where(FavoriteRow.customer_id == customer_id)
    )


def _array(product_ids: Collection[ProductId]) -> ColumnElement[list[int]]:
    return literal(sorted(set(product_ids)), ARRAY(Integer))


def _item(favorite: FavoriteRow, product: ProductRow | None) -> FavoriteItem:
    return FavoriteItem(
        favorite=favorite.to_entity(), cached=product.to_cached() if product else None
    )


def _position(item: FavoriteItem, sort: FavoriteSort) -> Position:
    tie = str(item.favorite.product_id)
    if sort in _BY_TIME:
        return (item.favorite.favorited_at.isoformat(), tie)
    if item.cached is None:
        return (None, tie)
    product = item.cached.product
    return (fold(product.title) if sort is FavoriteSort.TITLE else str(product.price), tie)


def _order(sort: FavoriteSort) -> tuple[ColumnElement[Any], ...]:
    key, tie = _KEYS[sort], col(FavoriteRow.product_id)
    directed = (key.desc(), tie.desc()) if sort in _DESCENDING else (key.asc(), tie.asc())
    # Times are never null, and an index serves only the order that it has.
    return directed if sort in _BY_TIME else (directed[0].nulls_last(), directed[1])


def _behind(after: Position, sort: FavoriteSort) -> ColumnElement[bool]:
    """Say that a favorite comes behind a position; those without a known product come last."""
    text_key, text_tie = after
    key, tie = _KEYS[sort], col(FavoriteRow.product_id)
    last = int(text_tie or 0)
    if text_key is None:
        return and_(key.is_(None), tie < last if sort in _DESCENDING else tie > last)
    place = tuple_(key, tie)
    start = (_parsed(text_key, sort), last)
    behind = place < start if sort in _DESCENDING else place > start
    return behind if sort in _BY_TIME else or_(behind, key.is_(None))


def _parsed(key: str, sort: FavoriteSort) -> datetime | Decimal | str:
    match sort:
        case FavoriteSort.NEWEST | FavoriteSort.OLDEST:
            return datetime.fromisoformat(key)
        case FavoriteSort.CHEAPEST | FavoriteSort.DEAREST:
            return Decimal(key)
        case FavoriteSort.TITLE:
            return key
