from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from typing_extensions import override

from app.domain.access import CustomerPrincipal
from app.domain.customer import CustomerId, Role
from app.domain.favorite import Favorite, FavoriteItem, ListVersion, Snapshot
from app.domain.page import Page
from app.domain.product import CachedProduct, ProductId, Rating, UnknownProduct
from app.domain.repository import Lookups
from app.domain.session import SessionId
from app.infra.postgres.lookup.batch import Batch
from app.infra.postgres.lookup.copies import Copies, Copy
from app.infra.postgres.lookup.lanes import Lanes

Reader: TypeAlias = tuple[CustomerPrincipal, ListVersion]
Newest: TypeAlias = tuple[ListVersion, Page[FavoriteItem]]
Found: TypeAlias = tuple[FavoriteItem | None, Copy | None]
Contained: TypeAlias = tuple[ListVersion, frozenset[ProductId]]

_LIST_MOST = 32

_LIVING = """
    s.id = ANY ($1)
        AND s.ended_at IS NULL AND s.idle_expires_at > $2 AND s.expires_at > $2"""
_PRINCIPALS = f"""
    SELECT s.id, s.customer_id, c.role
    FROM sessions AS s JOIN customers AS c ON c.id = s.customer_id
    WHERE {_LIVING}"""  # noqa: S608 - constants
_PRODUCTS = "SELECT product_id, xmin FROM products_cache WHERE product_id = ANY ($1)"
_CATALOG_VERSION = """
    coalesce((SELECT content_version FROM catalog_state WHERE id = 1), 0)"""
_VERSIONS = f"""
    SELECT q.customer_id, coalesce(l.version, 0), {_CATALOG_VERSION}
    FROM unnest($1::uuid[]) AS q (customer_id)
    LEFT JOIN favorite_lists AS l ON l.customer_id = q.customer_id"""  # noqa: S608 - constants
_READERS = f"""
    SELECT s.id, s.customer_id, c.role, coalesce(l.version, 0), {_CATALOG_VERSION}
    FROM sessions AS s JOIN customers AS c ON c.id = s.customer_id
    LEFT JOIN favorite_lists AS l ON l.customer_id = s.customer_id
    WHERE {_LIVING}"""  # noqa: S608 - constants
# Products are not part of it: they are shared by many lists, and most are known already.
_NEWEST = f"""
    SELECT q.n, coalesce(l.version, 0), {_CATALOG_VERSION},
        f.product_id, f.favorited_at, f.rejected_at, f.xmin,
        f.snapshot_title, f.snapshot_price::text, f.snapshot_image,
        f.snapshot_rate::text, f.snapshot_rating_count
    FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS q (customer_id, most, n)
    LEFT JOIN favorite_lists AS l ON l.customer_id = q.customer_id
    LEFT JOIN LATERAL (
        SELECT favorites.product_id, favorited_at, rejected_at, p.xmin,
            snapshot_title, snapshot_price, snapshot_image, snapshot_rate, snapshot_rating_count
        FROM favorites
        LEFT JOIN products_cache AS p
            ON p.product_id = favorites.product_id AND p.fetched_at IS NOT NULL
        WHERE customer_id = q.customer_id
        ORDER BY favorited_at DESC, favorites.product_id DESC
        LIMIT q.most
    ) AS f ON true
    ORDER BY q.n, f.favorited_at DESC, f.product_id DESC"""  # noqa: S608 - constants
_FAVORITES = """
    SELECT q.n, f.favorited_at IS NOT NULL, 0, q.product_id, f.favorited_at, f.rejected_at, p.xmin,
        f.snapshot_title, f.snapshot_price::text, f.snapshot_image,
        f.snapshot_rate::text, f.snapshot_rating_count
    FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS q (customer_id, product_id, n)
    LEFT JOIN favorites AS f ON f.customer_id = q.customer_id AND f.product_id = q.product_id
    LEFT JOIN products_cache AS p ON p.product_id = q.product_id"""
_CONTAINED = f"""
    SELECT q.n, coalesce(l.version, 0), {_CATALOG_VERSION}, ARRAY(
        SELECT product_id FROM favorites
        WHERE customer_id = q.customer_id AND product_id = ANY (q.product_ids::int[])
    )
    FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS q (customer_id, product_ids, n)
    LEFT JOIN favorite_lists AS l ON l.customer_id = q.customer_id"""  # noqa: S608 - constants


class PostgresLookups(Lookups):
    """
    The lookups of one process; those that come together share a statement.
    """

    def __init__(self, lanes: Lanes, *, patience: timedelta) -> None:
        """Prepare lookups that are answered within `patience`, or not at all."""
        self._lanes = lanes
        self._copies = Copies(lanes.fetch)
        self._snapshots = _Snapshots()
        self._principals = Batch(self._find_principals, patience=patience)
        self._readers = Batch(self._find_readers, patience=patience)
        self._products = Batch(self._find_products, patience=patience)
        self._favorites = Batch(self._find_favorites, patience=patience)
        self._versions = Batch(self._list_versions, patience=patience)
        self._lists = Batch(self._list_all_newest, patience=patience, most=_LIST_MOST)
        self._contained = Batch(self._find_contained, patience=patience)

    @override
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        return await self._principals.ask((session_id, now))

    async def _find_principals(
        self, asked: Collection[tuple[SessionId, datetime]]
    ) -> Mapping[tuple[SessionId, datetime], CustomerPrincipal | None]:
        found = {
            id_: _principal(id_, customer_id, role)
            for id_, customer_id, role in await self._of_sessions(_PRINCIPALS, asked)
        }
        return {key: found.get(key[0]) for key in asked}

    @override
    async def find_reader(self, session_id: SessionId, *, now: datetime) -> Reader | None:
        return await self._readers.ask((session_id, now))

    async def _find_readers(
        self, asked: Collection[tuple[SessionId, datetime]]
    ) -> Mapping[tuple[SessionId, datetime], Reader | None]:
        found = {
            id_: (
                _principal(id_, customer_id, role),
                ListVersion(favorites=favorites, catalog=catalog),
            )
            for id_, customer_id, role, favorites, catalog in await self._of_sessions(
                _READERS, asked
            )
        }
        return {key: found.get(key[0]) for key in asked}

    async def _of_sessions(
        self, statement: str, asked: Collection[tuple[SessionId, datetime]]
    ) -> Sequence[Any]:
        # Asked within moments of each other: what is over for one is over for all.
        latest = max(now for _, now in asked)
        return await self._lanes.fetch(
            statement, list({session_id for session_id, _ in asked}), latest
        )

    @override
    async def find_product(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        return await self._products.ask(product_id)

    async def _find_products(
        self, asked: Collection[ProductId]
    ) -> Mapping[ProductId, Copy | None]:
        copies = await self._copies.resolve(dict(await self._lanes.fetch(_PRODUCTS, list(asked))))
        return {product_id: copies.get(product_id) for product_id in asked}

    @override
    async def find_favorite(self, customer_id: CustomerId, product_id: ProductId) -> Found:
        return await self._favorites.ask((customer_id, product_id))

    async def _find_favorites(
        self, asked: Collection[tuple[CustomerId, ProductId]]
    ) -> Mapping[tuple[CustomerId, ProductId], Found]:
        keys = list(asked)
        rows = await self._lanes.fetch(
            _FAVORITES, [key[0] for key in keys], [key[1] for key in keys]
        )
        copies = await self._copies_of(rows)
        found: dict[tuple[CustomerId, ProductId], Found] = {}
        for row in rows:
            key = keys[row[0] - 1]
            item = self._item(key[0], row, copies) if row[1] else None
            found[key] = (item, copies.get(key[1]))
        return found

    async def _copies_of(self, rows: Sequence[Any]) -> Mapping[int, Copy]:
        return await self._copies.resolve({row[3]: row[6] for row in rows if row[6] is not None})

    @override
    async def list_version(self, customer_id: CustomerId) -> ListVersion:
        return await self._versions.ask(customer_id)

    async def _list_versions(
        self, asked: Collection[CustomerId]
    ) -> Mapping[CustomerId, ListVersion]:
        return {
            CustomerId(customer_id): ListVersion(favorites=favorites, catalog=catalog)
            for customer_id, favorites, catalog in await self._lanes.fetch(_VERSIONS, list(asked))
        }

    @override
    async def list_newest(self, customer_id: CustomerId, *, limit: int) -> Newest:
        return await self._lists.ask((customer_id, limit))

    async def _list_all_newest(
        self, asked: Collection[tuple[CustomerId, int]]
    ) -> Mapping[tuple[CustomerId, int], Newest]:
        keys = list(asked)
        rows = await self._lanes.fetch(
            _NEWEST, [key[0] for key in keys], [key[1] + 1 for key in keys]
        )
        copies = await self._copies_of(rows)
        by_list: list[list[Any]] = [[] for _ in keys]
        for row in rows:
            by_list[row[0] - 1].append(row)
        return {
            key: self._newest(key, rows_of, copies)
            for key, rows_of in zip(keys, by_list, strict=True)
        }

    def _newest(
        self, key: tuple[CustomerId, int], rows: Sequence[Any], copies: Mapping[int, Copy]
    ) -> Newest:
        customer_id, limit = key
        version = ListVersion(favorites=rows[0][1], catalog=rows[0][2])
        items = [
            self._item(customer_id, row, copies) for row in rows[:limit] if row[3] is not None
        ]
        more = len(rows) > limit
        last = items[-1].favorite if more else None
        position = None if last is None else (last.favorited_at.isoformat(), str(last.product_id))
        return version, Page(items=items, next=position)

    def _item(self, customer_id: CustomerId, row: Any, copies: Mapping[int, Copy]) -> FavoriteItem:
        _, _, _, product_id, favorited_at, rejected_at, _, *snapshot = row
        copy = copies.get(product_id)
        return FavoriteItem(
            favorite=Favorite(
                customer_id=customer_id,
                product_id=product_id,
                favorited_at=favorited_at,
                when_favorited=self._snapshots.get(tuple(snapshot)),
                rejected_at=rejected_at,
            ),
            cached=copy if isinstance(copy, CachedProduct) else None,
        )

    @override
    async def contains(
        self, customer_id: CustomerId, product_ids: Collection[ProductId]
    ) -> Contained:
        return await self._contained.ask((customer_id, tuple(sorted(set(product_ids)))))

    async def _find_contained(
        self, asked: Collection[tuple[CustomerId, tuple[ProductId, ...]]]
    ) -> Mapping[tuple[CustomerId, tuple[ProductId, ...]], Contained]:
        keys = list(asked)
        rows = await self._lanes.fetch(
            _CONTAINED,
            [customer_id for customer_id, _ in keys],
            [f"{{{','.join(map(str, product_ids))}}}" for _, product_ids in keys],
        )
        return {
            keys[n - 1]: (ListVersion(favorites=favorites, catalog=catalog), frozenset(found))
            for n, favorites, catalog, found in rows
        }

    async def aclose(self) -> None:
        """Give up what is under way."""
        for batch in (
            self._principals,
            self._readers,
            self._products,
            self._favorites,
            self._versions,
            self._lists,
            self._contained,
        ):
            await batch.aclose()


def _principal(session_id: Any, customer_id: Any, role: str) -> CustomerPrincipal:
    return CustomerPrincipal(
        customer_id=CustomerId(customer_id), session_id=SessionId(session_id), role=Role(role)
    )


_Columns: TypeAlias = tuple[Any, ...]


class _Snapshots:
    """Spares building again what many favorites of a product have in common."""

    _KEPT = 4_000

    def __init__(self) -> None:
        self._known: dict[_Columns, Snapshot | None] = {}

    def get(self, columns: _Columns) -> Snapshot | None:
        """Return the snapshot of title, price, image, rate and number of votes."""
        try:
            return self._known[columns]
        except KeyError:
            if len(self._known) >= self._KEPT:
                self._known.clear()
            snapshot = self._known[columns] = _snapshot(*columns)
            return snapshot


def _snapshot(
    title: str | None, price: str | None, image: str | None, rate: str | None, count: int | None
) -> Snapshot | None:
    if title is None or price is None or image is None:
        return None
    return Snapshot(
        title=title,
        price=Decimal(price),
        image=image,
        rating=None if rate is None or count is None else Rating(rate=Decimal(rate), count=count),
    )
