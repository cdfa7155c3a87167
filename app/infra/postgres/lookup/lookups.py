from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from typing_extensions import override

from app.domain.access import CustomerPrincipal, SessionClaim, session_ended
from app.domain.customer import CustomerId, Role
from app.domain.favorite import Favorite, FavoriteItem, ListVersion
from app.domain.page import Page
from app.domain.product import CachedProduct, ProductId, UnknownProduct
from app.domain.repository import Lookups
from app.domain.session import SessionId
from app.infra.postgres.batcher import Batch
from app.infra.postgres.lookup.claims import latest, session_ids
from app.infra.postgres.lookup.snapshots import Snapshots
from app.infra.postgres.row_cache import Copies, Copy
from app.infra.postgres.statement_pool import Lanes

Newest: TypeAlias = tuple[ListVersion, Page[FavoriteItem]]
Found: TypeAlias = tuple[FavoriteItem | None, Copy | None]
Contained: TypeAlias = tuple[ListVersion, frozenset[ProductId]]

V = TypeVar("V")
K = TypeVar("K")
Asked: TypeAlias = tuple[CustomerId, SessionClaim | None, K]
"""Whose list is asked for, what has to hold, and what is asked besides."""

_LIST_MOST = 32

# Which sessions is asked first in all statements, and second at which moment.
_LIVING = "s.ended_at IS NULL AND s.idle_expires_at > $2 AND s.expires_at > $2"
_PRINCIPALS = f"""
    SELECT s.id, s.customer_id, c.role
    FROM sessions AS s JOIN customers AS c ON c.id = s.customer_id
    WHERE s.id = ANY ($1) AND {_LIVING}"""  # noqa: S608 - constants
_PRODUCTS = "SELECT product_id, xmin FROM products_cache WHERE product_id = ANY ($1)"
_CATALOG_VERSION = """
    coalesce((SELECT content_version FROM catalog_state WHERE id = 1), 0)"""
# A session that has to hold is looked at beside what it is for: one look is one trip, and cannot
# see the one without the other.
_HOLDS = "q.session_id IS NULL OR s.id IS NOT NULL"
_SESSIONS = f"""
    LEFT JOIN sessions AS s
        ON s.id = q.session_id AND s.customer_id = q.customer_id AND {_LIVING}"""
_SNAPSHOT = """f.snapshot_title, f.snapshot_price::text, f.snapshot_image,
        f.snapshot_rate::text, f.snapshot_rating_count"""
_LISTS = "LEFT JOIN favorite_lists AS l ON l.customer_id = q.customer_id"
_VERSIONS = f"""
    SELECT q.n, {_HOLDS}, coalesce(l.version, 0), {_CATALOG_VERSION}
    FROM unnest($1::uuid[], $3::uuid[]) WITH ORDINALITY AS q (session_id, customer_id, n)
    {_SESSIONS} {_LISTS}"""  # noqa: S608 - constants
# Products are not part of it: they are shared by many lists, and most are known already.
_NEWEST = f"""
    SELECT q.n, {_HOLDS}, coalesce(l.version, 0), {_CATALOG_VERSION},
        f.product_id, f.favorited_at, f.rejected_at, f.xmin,
        {_SNAPSHOT}
    FROM unnest($1::uuid[], $3::uuid[], $4::int[]) WITH ORDINALITY
        AS q (session_id, customer_id, most, n)
    {_SESSIONS} {_LISTS}
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
_FAVORITES = f"""
    SELECT q.n, {_HOLDS}, f.favorited_at IS NOT NULL,
        q.product_id, f.favorited_at, f.rejected_at, p.xmin,
        {_SNAPSHOT}
    FROM unnest($1::uuid[], $3::uuid[], $4::int[]) WITH ORDINALITY
        AS q (session_id, customer_id, product_id, n)
    {_SESSIONS}
    LEFT JOIN favorites AS f ON f.customer_id = q.customer_id AND f.product_id = q.product_id
    LEFT JOIN products_cache AS p ON p.product_id = q.product_id"""  # noqa: S608 - constants
_CONTAINED = f"""
    SELECT q.n, {_HOLDS}, coalesce(l.version, 0), {_CATALOG_VERSION}, ARRAY(
        SELECT product_id FROM favorites
        WHERE customer_id = q.customer_id AND product_id = ANY (q.product_ids::int[])
    )
    FROM unnest($1::uuid[], $3::uuid[], $4::text[]) WITH ORDINALITY
        AS q (session_id, customer_id, product_ids, n)
    {_SESSIONS} {_LISTS}"""  # noqa: S608 - constants


class PostgresLookups(Lookups):
    """
    The lookups of one process; those that come together share a statement.
    """

    def __init__(self, lanes: Lanes, copies: Copies, *, patience: timedelta) -> None:
        """Prepare lookups that are answered within `patience`, or not at all."""
        self._lanes = lanes
        self._copies = copies
        self._snapshots = Snapshots()
        self._principals = Batch(self._find_principals, patience=patience)
        self._products = Batch(self._find_products, patience=patience)
        self._favorites = Batch(self._find_favorites, patience=patience)
        self._versions = Batch(self._list_versions, patience=patience)
        self._lists = Batch(self._list_all_newest, patience=patience, most=_LIST_MOST)
        self._contained = Batch(self._find_contained, patience=patience)

    @override
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        return await self._principals.ask(SessionClaim(session_id=session_id, at=now))

    async def _find_principals(
        self, asked: Collection[SessionClaim]
    ) -> Mapping[SessionClaim, CustomerPrincipal | None]:
        found = {
            id_: _principal(id_, customer_id, role)
            for id_, customer_id, role in await self._lanes.fetch(
                _PRINCIPALS, session_ids(asked), latest(asked)
            )
        }
        return {claim: found.get(claim.session_id) for claim in asked}

    @override
    async def find_product(self, product_id: ProductId) -> CachedProduct | UnknownProduct | None:
        return await self._products.ask(product_id)

    @override
    def recall_product(self, product_id: ProductId) -> CachedProduct | None:
        return self._copies.recall(product_id)

    async def _find_products(
        self, asked: Collection[ProductId]
    ) -> Mapping[ProductId, Copy | None]:
        copies = await self._copies.resolve(dict(await self._lanes.fetch(_PRODUCTS, list(asked))))
        return {product_id: copies.get(product_id) for product_id in asked}

    @override
    async def find_favorite(
        self, customer_id: CustomerId, product_id: ProductId, *, claim: SessionClaim | None = None
    ) -> Found:
        return _held(await self._favorites.ask((customer_id, claim, product_id)))

    async def _find_favorites(
        self, asked: Collection[Asked[ProductId]]
    ) -> Mapping[Asked[ProductId], Found | None]:
        keys = list(asked)
        rows = await self._fetch(_FAVORITES, keys, [product_id for _, _, product_id in keys])
        copies = await self._copies_of([row[3:] for row in rows])
        found: dict[Asked[ProductId], Found | None] = {}
        for n, holds, there, *columns in rows:
            key = keys[n - 1]
            item = self._item(key[0], columns, copies) if there else None
            found[key] = (item, copies.get(key[2])) if holds else None
        return found

    async def _fetch(self, statement: str, keys: Sequence[Asked[Any]], *values: object) -> Any:
        """Run a statement about customers and the sessions that have to hold."""
        claims = [claim for _, claim, _ in keys]
        return await self._lanes.fetch(
            statement,
            session_ids(claims),
            latest(claims),
            [customer_id for customer_id, _, _ in keys],
            *values,
        )

    async def _copies_of(self, favorites: Sequence[Sequence[Any]]) -> Mapping[int, Copy]:
        return await self._copies.resolve(
            {
                product_id: version
                for product_id, _, _, version, *_ in favorites
                if version is not None
            }
        )

    @override
    async def list_version(
        self, customer_id: CustomerId, *, claim: SessionClaim | None = None
    ) -> ListVersion:
        return _held(await self._versions.ask((customer_id, claim, None)))

    async def _list_versions(
        self, asked: Collection[Asked[None]]
    ) -> Mapping[Asked[None], ListVersion | None]:
        keys = list(asked)
        return {
            keys[n - 1]: ListVersion(favorites=favorites, catalog=catalog) if holds else None
            for n, holds, favorites, catalog in await self._fetch(_VERSIONS, keys)
        }

    @override
    async def list_newest(
        self, customer_id: CustomerId, *, limit: int, claim: SessionClaim | None = None
    ) -> Newest:
        return _held(await self._lists.ask((customer_id, claim, limit)))

    async def _list_all_newest(
        self, asked: Collection[Asked[int]]
    ) -> Mapping[Asked[int], Newest | None]:
        keys = list(asked)
        rows = await self._fetch(_NEWEST, keys, [limit + 1 for _, _, limit in keys])
        by_list: list[list[Any]] = [[] for _ in keys]
        for row in rows:
            by_list[row[0] - 1].append(row)
        copies = await self._copies_of([row[4:] for row in rows])
        return {
            key: self._newest(key, rows_of, copies) if rows_of[0][1] else None
            for key, rows_of in zip(keys, by_list, strict=True)
        }

    def _newest(self, key: Asked[int], rows: Sequence[Any], copies: Mapping[int, Copy]) -> Newest:
        customer_id, _, limit = key
        _, _, favorites, catalog, *_ = rows[0]
        items = [
            self._item(customer_id, row[4:], copies) for row in rows[:limit] if row[4] is not None
        ]
        more = len(rows) > limit
        last = items[-1].favorite if more else None
        position = None if last is None else (last.favorited_at.isoformat(), str(last.product_id))
        version = ListVersion(favorites=favorites, catalog=catalog)
        return version, Page(items=items, next=position)

    def _item(
        self, customer_id: CustomerId, columns: Sequence[Any], copies: Mapping[int, Copy]
    ) -> FavoriteItem:
        product_id, favorited_at, rejected_at, _, *snapshot = columns
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
        self,
        customer_id: CustomerId,
        product_ids: Collection[ProductId],
        *,
        claim: SessionClaim | None = None,
    ) -> Contained:
        key = (customer_id, claim, tuple(sorted(set(product_ids))))
        return _held(await self._contained.ask(key))

    async def _find_contained(
        self, asked: Collection[Asked[tuple[ProductId, ...]]]
    ) -> Mapping[Asked[tuple[ProductId, ...]], Contained | None]:
        keys = list(asked)
        arrays = [f"{{{','.join(map(str, product_ids))}}}" for _, _, product_ids in keys]
        return {
            keys[n - 1]: (
                (ListVersion(favorites=favorites, catalog=catalog), frozenset(found))
                if holds
                else None
            )
            for n, holds, favorites, catalog, found in await self._fetch(_CONTAINED, keys, arrays)
        }

    async def aclose(self) -> None:
        """Give up what is under way."""
        for batch in (
            self._principals,
            self._products,
            self._favorites,
            self._versions,
            self._lists,
            self._contained,
        ):
            await batch.aclose()


def _held(found: V | None) -> V:
    """Return what was found, unless the session it was found for does not hold."""
    if found is None:
        raise session_ended()
    return found


def _principal(session_id: Any, customer_id: Any, role: str) -> CustomerPrincipal:
    return CustomerPrincipal(
        customer_id=CustomerId(customer_id), session_id=SessionId(session_id), role=Role(role)
    )
