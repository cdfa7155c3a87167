from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from typing_extensions import override

from app.domain.customer import fold
from app.domain.page import Page, Position
from app.domain.product import (
    MAX_PRODUCT_ID,
    CachedProduct,
    PopularProduct,
    PricePoint,
    ProductId,
    ProductQuery,
    ProductSort,
    UnknownProduct,
)
from app.domain.queries import CatalogPage
from app.infra.postgres.batcher import Batcher
from app.infra.postgres.queries.base import PostgresQueriesBase
from app.infra.postgres.rows import CATALOG_COLUMNS, Copy, read_catalog_state

_IS_LISTED = "p.fetched_at IS NOT NULL AND p.removed_at IS NULL"
_FIND_PRODUCTS = "SELECT product_id, xmin FROM products_cache WHERE product_id = ANY ($1)"
_LIST_POPULAR = f"""
    SELECT p.product_id, p.xmin, o.favorites
    FROM product_popularity AS o
    JOIN products_cache AS p ON p.product_id = o.product_id AND {_IS_LISTED}
    WHERE o.favorites >= $1
    ORDER BY o.favorites DESC, o.product_id DESC
    LIMIT $2"""  # noqa: S608 - constants
_LIST_PRICES = "SELECT price, seen_at FROM product_prices WHERE product_id = $1 ORDER BY seen_at"
_LIST_FAVORITED = f"""
    SELECT p.product_id
    FROM products_cache AS p
    WHERE {_IS_LISTED} AND p.fetched_at < $1
        AND EXISTS (SELECT FROM favorites AS f WHERE f.product_id = p.product_id)
    ORDER BY p.fetched_at, p.product_id
    LIMIT $2"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """An order by a key, then the id; without a key by the id alone."""

    key: str | None = None
    type: str = "text"
    first_key: str = ""
    descending: bool = False
    parse: Callable[[str], object] = str

    def start(self, after: Position | None) -> Sequence[object]:
        """Return the id and the key, if there is one, behind which a page begins."""
        if after is None:
            return [None] if self.key is None else [None, None]
        *keys, id_ = (part or "" for part in after)
        return [int(id_), *map(self.parse, keys)]

    def position(self, id_: int, key: object) -> Position:
        """Return the position that `start` reads."""
        return (str(id_),) if self.key is None else (str(key), str(id_))


_ORDERS: Mapping[ProductSort, _Order] = {
    ProductSort.ID: _Order(),
    ProductSort.CHEAPEST: _Order(
        key="p.price", type="numeric", first_key="'-infinity'", parse=Decimal
    ),
    ProductSort.DEAREST: _Order(
        key="p.price", type="numeric", first_key="'infinity'", parse=Decimal, descending=True
    ),
    ProductSort.TITLE: _Order(key="p.title_key", first_key="''"),
}


def _statement(order: _Order) -> str:
    """Return the statement for a page of products; it begins behind the id $4 and the key $5."""
    direction, comparison = ("DESC", "<") if order.descending else ("ASC", ">")
    columns = ["p.product_id"]
    start = [f"coalesce($4::int, {MAX_PRODUCT_ID if order.descending else 0})"]
    if order.key is not None:
        columns.insert(0, order.key)
        start.insert(0, f"coalesce($5::{order.type}, {order.first_key})")
    return f"""
    SELECT {CATALOG_COLUMNS}, ARRAY(
        SELECT ROW(p.product_id, p.xmin, {columns[0]})
        FROM products_cache AS p
        WHERE {_IS_LISTED}
            AND ($1::text IS NULL OR p.category = $1)
            AND ($2::text IS NULL OR strpos(p.title_key, $2) > 0)
            AND ({", ".join(columns)}) {comparison} ({", ".join(start)})
        ORDER BY {", ".join(f"{column} {direction}" for column in columns)}
        LIMIT $3
    )
    FROM (SELECT) AS always LEFT JOIN catalog_state AS g ON g.id = 1"""  # noqa: S608 - constants


_LIST_PRODUCTS = {sort: _statement(order) for sort, order in _ORDERS.items()}


class ProductQueries(PostgresQueriesBase):
    """Reads of the copies of the catalog's products."""

    @override
    async def find_product(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        return await self._products.submit(product_id)

    @cached_property
    def _products(self) -> Batcher[ProductId, Copy | None]:
        return self._batcher(self._find_products)

    async def _find_products(self, ids: Sequence[ProductId]) -> Sequence[Copy | None]:
        versions = dict(await self._fetch(_FIND_PRODUCTS, ids))
        copies = await self._row_cache.resolve(versions)
        return [copies.get(id_) for id_ in ids]

    @override
    def last_seen_product(self, product_id: ProductId) -> CachedProduct | None:
        return self._row_cache.recall(product_id)

    @override
    async def find_products(self, product_ids: Collection[ProductId]) -> Mapping[ProductId, Copy]:
        async with self._bounded():
            versions = dict(await self._fetch(_FIND_PRODUCTS, sorted(set(product_ids))))
            copies = await self._row_cache.resolve(versions)
        return {ProductId(id_): copy for id_, copy in copies.items()}

    @override
    async def list_products(self, query: ProductQuery, *, current: bool = False) -> CatalogPage:
        fetch = self._fetch if current else self._fetch_lagging
        order = _ORDERS[query.sort]
        async with self._bounded():
            [(*state, rows)] = await fetch(
                _LIST_PRODUCTS[query.sort],
                query.category,
                None if query.q is None else fold(query.q),
                # One more than the page has room for tells whether there is a next page.
                query.limit + 1,
                *order.start(query.after),
            )
            page = rows[: query.limit]
            copies = await self._row_cache.resolve(
                {product_id: version for product_id, version, _ in page}, fetch=fetch
            )
        following = None
        if len(rows) > query.limit:
            last_id, _, last_key = page[-1]
            following = order.position(last_id, last_key)
        listed = [copy for row in page if (copy := _listed(copies, row[0]))]
        return CatalogPage(read_catalog_state(*state), Page(items=listed, next=following))

    @override
    async def list_popular(self, *, at_least: int, limit: int) -> Sequence[PopularProduct]:
        async with self._bounded():
            rows = await self._fetch_lagging(_LIST_POPULAR, at_least, limit)
            copies = await self._row_cache.resolve(
                {product_id: version for product_id, version, _ in rows}, fetch=self._fetch_lagging
            )
        return [
            PopularProduct(cached=copy, favorites=favorites)
            for product_id, _, favorites in rows
            if (copy := _listed(copies, product_id))
        ]

    @override
    async def list_prices(self, product_id: ProductId) -> Sequence[PricePoint] | None:
        async with self._bounded():
            rows = await self._fetch_lagging(_LIST_PRICES, product_id)
        # The first copy of a product comes with its first price.
        return [PricePoint(price=price, seen_at=seen_at) for price, seen_at in rows] or None

    @override
    async def list_favorited(self, *, fetched_before: datetime, limit: int) -> Sequence[ProductId]:
        async with self._bounded():
            rows = await self._fetch(_LIST_FAVORITED, fetched_before, limit)
        return [ProductId(product_id) for (product_id,) in rows]


def _listed(copies: Mapping[int, Copy], product_id: int) -> CachedProduct | None:
    """Return the copy, unless the product was removed after it was listed."""
    copy = copies.get(product_id)
    return copy if isinstance(copy, CachedProduct) and not copy.removed else None
