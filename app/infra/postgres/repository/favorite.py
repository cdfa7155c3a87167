from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Integer, any_, bindparam, func, text, tuple_
from sqlalchemy.orm import Mapped
from sqlmodel import and_, col, delete, literal, or_, select, update
from sqlmodel.sql.expression import Select
from typing_extensions import override

from app.domain.customer import CustomerId, fold
from app.domain.favorite import Favorite, FavoriteItem, FavoriteQuery, FavoriteSort, Snapshot
from app.domain.outcome import CustomerNotFound
from app.domain.page import Page, Position
from app.domain.product import ProductId
from app.domain.repository import FavoriteRepository
from app.infra.postgres.orm.customer import CustomerRow
from app.infra.postgres.orm.favorite import FavoriteRow
from app.infra.postgres.orm.product import ProductRow
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresFavoriteRepository(FavoriteRepository):
    """
    Several favorites are locked in the order of customer and product.

    Whoever writes several of a customer in one unit of work does so in the order of products;
    then no two transactions wait for each other.
    """

    _transaction: Transaction

    @override
    async def put(self, favorite: Favorite) -> bool:
        row = FavoriteRow.from_entity(favorite)
        [(owners, added)] = await self._transaction.sql(_PUT, **row.model_dump())
        if not owners:
            raise CustomerNotFound("There is no such customer")
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
    async def contains(
        self, customer_id: CustomerId, product_ids: Collection[ProductId]
    ) -> frozenset[ProductId]:
        found = await self._transaction.all(
            select(FavoriteRow.product_id).where(
                FavoriteRow.customer_id == customer_id,
                col(FavoriteRow.product_id)
                == any_(literal(sorted(set(product_ids)), ARRAY(Integer))),
            )
        )
        return frozenset(ProductId(product_id) for product_id in found)

    @override
    async def remove(self, customer_id: CustomerId, product_id: ProductId) -> bool:
        removed = await self._transaction.write(
            delete(FavoriteRow).where(*_one(customer_id, product_id))
        )
        return removed > 0

    @override
    async def remove_rejected(self, customer_id: CustomerId, product_id: ProductId) -> bool:
        removed = await self._transaction.write(
            delete(FavoriteRow).where(
                *_one(customer_id, product_id), col(FavoriteRow.rejected_at).is_not(None)
            )
        )
        return removed > 0

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
        rating = snapshot.rating
        return await self._settle(
            product_id,
            snapshot_title=snapshot.title,
            snapshot_price=snapshot.price,
            snapshot_image=snapshot.image,
            snapshot_rate=rating.rate if rating else None,
            snapshot_rating_count=rating.count if rating else None,
        )

    @override
    async def reject(self, product_id: ProductId, *, now: datetime) -> int:
        return await self._settle(product_id, rejected_at=now)

    async def _settle(self, product_id: ProductId, **values: object) -> int:
        pending = (
            select(FavoriteRow.customer_id)
            .where(FavoriteRow.product_id == product_id, _PENDING)
            .order_by(col(FavoriteRow.customer_id))
            .with_for_update()
        ).cte("pending")
        return await self._transaction.write(
            update(FavoriteRow)
            .where(
                col(FavoriteRow.product_id) == product_id,
                col(FavoriteRow.customer_id) == pending.c.customer_id,
            )
            .values(values)
        )


# The customer is kept from being removed meanwhile, and a favorite is counted once.
_PUT = text("""
    WITH owner AS (
        SELECT id FROM customers WHERE id = :customer_id FOR KEY SHARE
    ), added AS (
        INSERT INTO favorites (
            customer_id, product_id, favorited_at, snapshot_title, snapshot_price,
            snapshot_image, snapshot_rate, snapshot_rating_count, rejected_at
        )
        SELECT
            id, :product_id, :favorited_at, :snapshot_title, :snapshot_price,
            :snapshot_image, :snapshot_rate, :snapshot_rating_count, :rejected_at
        FROM owner
        ON CONFLICT ON CONSTRAINT pk_favorites DO NOTHING
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM owner), (SELECT count(*) FROM added)
""").bindparams(
    *(
        bindparam(column.name, type_=column.type)
        for column in FavoriteRow.metadata.tables["favorites"].columns
    )
)

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


def _one(customer_id: CustomerId, product_id: ProductId) -> tuple[ColumnElement[bool], ...]:
    return (
        col(FavoriteRow.customer_id) == customer_id,
        col(FavoriteRow.product_id) == product_id,
    )


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
