"""Pages of lists of favorites: one statement for each order, whatever is filtered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from app.domain.customer import fold
from app.domain.favorite import FavoriteQuery, FavoriteSort
from app.domain.page import Position
from app.domain.product import MAX_PRODUCT_ID
from app.infra.postgres.queries.customer_read import JOINS, LIST_VERSION
from app.infra.postgres.queries.favorite_rows import FAVORITE_COLUMNS
from app.infra.postgres.rows import CUSTOMER_COLUMNS

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """
    An order by a key, then a tie: expressions over a favorite `f` and its product `p`.

    `first_key` and `first_tie` come before all others. A key `of_product` is null if the product
    is not known; such favorites come last. A position contains the key as text.
    """

    key: str
    type: str
    first_key: str
    tie: str = "f.product_id"
    first_tie: int = 0
    descending: bool = False
    of_product: bool = True
    parse: Callable[[str], object]
    format: Callable[[Any], str]
    parse_tie: Callable[[str], int] = int

    @property
    def column(self) -> str:
        """The column of the result that has the key."""
        return "sort_key" if self.of_product else "favorited_at"


def _statement(order: _Order, *, columns: str = "", joins: str = "") -> str:
    """
    Return the statement that lists favorites in an order.

    A page begins behind the key `after_key` and the tie `after_tie`. Both are null on the first
    page; the key alone is null behind a favorite whose product is not known. The condition is one
    row comparison without OR, so that an index scan can begin there.
    """
    direction, comparison = ("DESC", "<") if order.descending else ("ASC", ">")
    key, start = order.key, f"coalesce(q.after_key, {order.first_key})"
    sort_key = ""
    if order.of_product:
        # False sorts before true.
        key = f"{key} IS NULL, coalesce({key}, {order.first_key})"
        start = f"q.after_key IS NULL AND q.after_tie IS NOT NULL, {start}"
        sort_key = f", {order.key} AS sort_key"
        columns += ", f.sort_key"
    ordered = ", ".join(f"{part} {direction}" for part in (key, order.tie))
    return f"""
    SELECT {FAVORITE_COLUMNS}, q.n, {LIST_VERSION}{columns}
    FROM unnest(
        $1::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::{order.type}[], $8::int[]
    ) WITH ORDINALITY AS q (
        session_id, customer_id, max_rows, category, title, after_key, after_tie, n
    ){JOINS}{joins}
    LEFT JOIN LATERAL (
        SELECT f.*, p.xmin AS version{sort_key}
        FROM favorites AS f
        LEFT JOIN products_cache AS p
            ON p.product_id = f.product_id AND p.fetched_at IS NOT NULL
        WHERE f.customer_id = q.customer_id
            AND ({key}, {order.tie})
                {comparison} ({start}, coalesce(q.after_tie, {order.first_tie}))
            AND (q.category IS NULL OR p.category = q.category)
            AND (q.title IS NULL OR strpos(p.title_key, q.title) > 0)
        ORDER BY {ordered}
        LIMIT q.max_rows
    ) AS f ON true
    ORDER BY q.n, f.{order.column} {direction}, {order.tie} {direction}"""  # noqa: S608 - constants


def _negated(text: str) -> Decimal:
    return -Decimal(text)


_ORDERS: Mapping[FavoriteSort, _Order] = {
    FavoriteSort.NEWEST: _Order(
        key="f.favorited_at",
        type="timestamptz",
        first_key="timestamptz 'infinity'",
        first_tie=MAX_PRODUCT_ID,
        descending=True,
        of_product=False,
        parse=datetime.fromisoformat,
        format=datetime.isoformat,
    ),
    FavoriteSort.OLDEST: _Order(
        key="f.favorited_at",
        type="timestamptz",
        first_key="timestamptz '-infinity'",
        of_product=False,
        parse=datetime.fromisoformat,
        format=datetime.isoformat,
    ),
    FavoriteSort.CHEAPEST: _Order(
        key="p.price",
        type="numeric",
        first_key="numeric '-infinity'",
        parse=Decimal,
        format=str,
    ),
    # Ascending, so that unknown products are last: they sort by a flag that precedes the key.
    FavoriteSort.DEAREST: _Order(
        key="-p.price",
        type="numeric",
        first_key="numeric '-infinity'",
        tie="-f.product_id",
        first_tie=-MAX_PRODUCT_ID,
        parse=_negated,
        format=lambda key: str(-key),
        parse_tie=lambda text: -int(text),
    ),
    FavoriteSort.TITLE: _Order(
        key="p.title_key",
        type="text",
        first_key="''",
        parse=str,
        format=str,
    ),
}
LISTS = {sort: _statement(order) for sort, order in _ORDERS.items()}
PROFILES = _statement(
    _ORDERS[FavoriteSort.NEWEST],
    columns=f", {CUSTOMER_COLUMNS}",
    joins="\n    LEFT JOIN customers AS c ON c.id = q.customer_id",
)


def page_parameters(sort: FavoriteSort, queries: Sequence[FavoriteQuery]) -> Sequence[object]:
    """Return $4 to $8 of the statement that lists favorites in an order."""
    order = _ORDERS[sort]
    keys: list[object] = []
    ties: list[int | None] = []
    for query in queries:
        if query.after is None:
            keys.append(None)
            ties.append(None)
        else:
            key, tie = query.after
            keys.append(None if key is None else order.parse(key))
            ties.append(order.parse_tie(tie or "0"))
    return (
        # One more than the page has room for tells whether there is a next page.
        [query.limit + 1 for query in queries],
        _array([query.category for query in queries]),
        _array([None if query.q is None else fold(query.q) for query in queries]),
        _array(keys),
        _array(ties),
    )


def _array(values: Sequence[T | None]) -> Sequence[T | None] | None:
    # Most pages are first pages without filters; null is cheaper than nulls.
    return None if values.count(None) == len(values) else values


def position(sort: FavoriteSort, row: Any) -> Position:
    """Return where the page behind the favorite of a row begins."""
    order = _ORDERS[sort]
    key = row[order.column]
    return (None if key is None else order.format(key), str(row[0]))
