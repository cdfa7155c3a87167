from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from typing_extensions import override

from app.domain.customer import Customer, CustomerId, CustomerQuery, CustomerSort, fold
from app.domain.favorite import RemovedFavorite
from app.domain.outcome import CustomerNotFound
from app.domain.page import Page, Position
from app.domain.product import ProductId
from app.domain.queries import CustomerRecords
from app.domain.session import Session
from app.infra.postgres.batcher import Batcher
from app.infra.postgres.queries.base import PostgresQueriesBase
from app.infra.postgres.queries.customer_read import SESSION_IS_ACTIVE
from app.infra.postgres.queries.favorite_rows import FAVORITE_COLUMNS, FavoriteRows
from app.infra.postgres.rows import (
    CUSTOMER_COLUMNS,
    SESSION_COLUMNS,
    read_customer,
    read_session,
)

_FIND_CUSTOMERS = f"""
    SELECT {CUSTOMER_COLUMNS} FROM customers AS c WHERE c.id = ANY ($1)"""  # noqa: S608 - constants
_LIST_SESSIONS = f"""
    SELECT {SESSION_COLUMNS}
    FROM customers AS c
    LEFT JOIN sessions AS s ON s.customer_id = c.id AND {SESSION_IS_ACTIVE}
    WHERE c.id = $1
    ORDER BY s.last_used_at DESC, s.id DESC"""  # noqa: S608 - constants
_FIND_RECORDS = f"""
    SELECT
        ARRAY(
            SELECT ROW({SESSION_COLUMNS})
            FROM sessions AS s WHERE s.customer_id = c.id
            ORDER BY s.last_used_at DESC, s.id DESC
        ),
        ARRAY(
            SELECT ROW({FAVORITE_COLUMNS})
            FROM (
                SELECT f.*, p.xmin AS version
                FROM favorites AS f
                LEFT JOIN products_cache AS p
                    ON p.product_id = f.product_id AND p.fetched_at IS NOT NULL
                WHERE f.customer_id = c.id
            ) AS f
            ORDER BY f.favorited_at DESC, f.product_id DESC
        ),
        ARRAY(
            SELECT ROW(t.product_id, t.removed_at)
            FROM favorite_tombstones AS t WHERE t.customer_id = c.id
            ORDER BY t.removed_at DESC, t.product_id DESC
        ),
        {CUSTOMER_COLUMNS}
    FROM customers AS c WHERE c.id = $1"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class _Order:
    columns: tuple[str, ...]
    descending: bool = False


_ORDERS: Mapping[CustomerSort, _Order] = {
    CustomerSort.OLDEST: _Order(("c.created_at", "c.id")),
    CustomerSort.NEWEST: _Order(("c.created_at", "c.id"), descending=True),
    CustomerSort.NAME: _Order(("c.name_key", "c.id")),
    CustomerSort.EMAIL: _Order(("c.email_key",)),
}
_BY_TIME = {CustomerSort.OLDEST, CustomerSort.NEWEST}


class CustomerQueries(PostgresQueriesBase):
    """Reads of customers and of everything stored about one."""

    @override
    async def find_customer(self, customer_id: CustomerId) -> Customer | None:
        return await self._customers.submit(customer_id)

    @cached_property
    def _customers(self) -> Batcher[CustomerId, Customer | None]:
        return self._batcher(self._find_customers)

    async def _find_customers(self, ids: Sequence[CustomerId]) -> Sequence[Customer | None]:
        found = {row[0]: read_customer(*row) for row in await self._fetch(_FIND_CUSTOMERS, ids)}
        return [found.get(id_) for id_ in ids]

    @override
    async def list_customers(self, query: CustomerQuery) -> Page[Customer]:
        statement, values = customer_page(query)
        async with self._bounded():
            rows = await self._fetch_lagging(statement, *values)
        customers = [read_customer(*row) for row in rows[: query.limit]]
        more = len(rows) > query.limit
        return Page(items=customers, next=_position(customers[-1], query.sort) if more else None)

    @override
    async def list_sessions(self, customer_id: CustomerId, *, now: datetime) -> Sequence[Session]:
        async with self._bounded():
            rows = await self._fetch(_LIST_SESSIONS, customer_id, now)
        if not rows:
            raise CustomerNotFound
        # A customer without active sessions is one row of nulls.
        return [read_session(*row) for row in rows if row[0] is not None]

    @override
    async def find_records(self, customer_id: CustomerId) -> CustomerRecords | None:
        # Not kept: the snapshots of a long list, which is read rarely, would displace others.
        favorite_rows = FavoriteRows(self._row_cache)
        async with self._bounded():
            rows = await self._fetch(_FIND_RECORDS, customer_id)
            if not rows:
                return None
            [(sessions, favorites, removed, *columns)] = rows
            copies = await favorite_rows.copies(favorites)
        return CustomerRecords(
            customer=read_customer(*columns),
            sessions=[read_session(*row) for row in sessions],
            favorites=[favorite_rows.item(customer_id, row, copies) for row in favorites],
            removed_favorites=[
                RemovedFavorite(product_id=ProductId(product_id), removed_at=removed_at)
                for product_id, removed_at in removed
            ],
        )


def customer_page(query: CustomerQuery) -> tuple[str, Sequence[object]]:
    """
    Return the statement for a page of customers, and its values.

    Its text depends on which filters are given: plans are made without knowing the values, and
    each filter can have an index of its own.
    """
    order = _ORDERS[query.sort]
    conditions: list[str] = []
    values: list[object] = []

    def parameter(value: object) -> str:
        values.append(value)
        return f"${len(values)}"

    if query.email is not None:
        conditions.append(f"c.email_key = {parameter(fold(query.email))}")
    if query.name is not None:
        # As `starts_with`, in a form that an index over the collation "C" serves in any plan.
        prefix = fold(query.name)
        conditions.append(f"c.name_key >= {parameter(prefix)}")
        if (end := end_of_prefix(prefix)) is not None:
            conditions.append(f"c.name_key < {parameter(end)}")
    if query.created_after is not None:
        conditions.append(f"c.created_at > {parameter(query.created_after)}")
    if query.created_before is not None:
        conditions.append(f"c.created_at < {parameter(query.created_before)}")
    if query.role is not None:
        conditions.append(f"c.role = {parameter(query.role.value)}")
    if query.after is not None:
        start = ", ".join(map(parameter, _start(query.sort, query.after)))
        comparison = "<" if order.descending else ">"
        conditions.append(f"({', '.join(order.columns)}) {comparison} ({start})")
    direction = "DESC" if order.descending else "ASC"
    ordered = ", ".join(f"{column} {direction}" for column in order.columns)
    customers = (
        f"customers AS c WHERE {' AND '.join(conditions)}" if conditions else "customers AS c"
    )
    if query.name is not None and query.email is None and query.sort is not CustomerSort.NAME:
        # Find the names before sorting: few customers share a prefix, but a planner that does not
        # know it would rather read all customers in order until enough of them match.
        customers = f"(SELECT * FROM {customers} OFFSET 0) AS c"  # noqa: S608 - constants
    # One more than the page has room for tells whether there is a next page.
    limit = parameter(query.limit + 1)
    return (
        f"SELECT {CUSTOMER_COLUMNS} FROM {customers} ORDER BY {ordered} LIMIT {limit}",  # noqa: S608 - constants
        values,
    )


def end_of_prefix(prefix: str) -> str | None:
    """Return the least text after all that begin with a prefix; None if there is no such text."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    # Surrogates are not characters.
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)


def _position(customer: Customer, sort: CustomerSort) -> Position:
    match sort:
        case CustomerSort.OLDEST | CustomerSort.NEWEST:
            return (customer.created_at.isoformat(), str(customer.id))
        case CustomerSort.NAME:
            return (fold(customer.name), str(customer.id))
        case CustomerSort.EMAIL:
            return (customer.email.key,)


def _start(sort: CustomerSort, after: Position) -> tuple[datetime | str | UUID, ...]:
    key, *ties = (part or "" for part in after)
    first = datetime.fromisoformat(key) if sort in _BY_TIME else key
    return (first, *(UUID(tie) for tie in ties))
