from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from typing_extensions import override

from app.domain.access import SessionCheck, session_ended
from app.domain.customer import CustomerId
from app.domain.favorite import FavoriteQuery, FavoriteSort, ListVersion
from app.domain.page import Page
from app.domain.product import ProductId
from app.domain.queries import FavoritesContained, FavoritesPage, FoundFavorite, ProfileRead
from app.infra.postgres.batcher import Batcher
from app.infra.postgres.queries.base import PostgresQueriesBase
from app.infra.postgres.queries.customer_read import (
    CATALOG_VERSION,
    JOINS,
    LIST_VERSION,
    SESSION_IS_VALID,
    CustomerRead,
    in_order,
    parameters,
)
from app.infra.postgres.queries.favorite_pages import LISTS, PROFILES, page_parameters, position
from app.infra.postgres.queries.favorite_rows import (
    FAVORITE_COLUMNS,
    ROW_NUMBER,
    FavoriteRows,
    rows_by_read,
)
from app.infra.postgres.rows import Copy, read_customer

# The columns behind those of the favorite.
_VERSION = ROW_NUMBER + 1
_PRODUCT = _CUSTOMER = _VERSION + 2

# A page has more rows than other results; fewer of them share a statement.
_LISTS_MAX = 32

_LIST_VERSIONS = f"""
    SELECT q.n, {LIST_VERSION}
    FROM unnest($1::uuid[], $3::uuid[]) WITH ORDINALITY AS q (session_id, customer_id, n){JOINS}
"""  # noqa: S608 - constants
_FIND_FAVORITES = f"""
    SELECT {FAVORITE_COLUMNS}, q.n,
        CASE WHEN {SESSION_IS_VALID} THEN coalesce(l.version, 0) END, {CATALOG_VERSION},
        p.product_id, p.xmin
    FROM unnest($1::uuid[], $3::uuid[], $4::int[])
        WITH ORDINALITY AS q (session_id, customer_id, product_id, n){JOINS}
    LEFT JOIN products_cache AS p ON p.product_id = q.product_id
    LEFT JOIN LATERAL (
        SELECT f.*, p.xmin AS version FROM favorites AS f
        WHERE f.customer_id = q.customer_id AND f.product_id = q.product_id
    ) AS f ON true
"""  # noqa: S608 - constants
_FIND_CONTAINED = f"""
    SELECT q.n, {LIST_VERSION}, ARRAY(
        SELECT f.product_id FROM favorites AS f
        WHERE f.customer_id = q.customer_id AND f.product_id = ANY (q.product_ids::int[])
    )
    FROM unnest($1::uuid[], $3::uuid[], $4::text[])
        WITH ORDINALITY AS q (session_id, customer_id, product_ids, n){JOINS}
"""  # noqa: S608 - constants


class FavoriteQueries(PostgresQueriesBase):
    """Reads of lists of favorites."""

    @cached_property
    def _favorite_rows(self) -> FavoriteRows:
        return FavoriteRows(self._row_cache)

    @override
    async def list_version(
        self, customer_id: CustomerId, *, session: SessionCheck | None = None
    ) -> ListVersion:
        return await self._versions.submit(CustomerRead(customer_id, session, None))

    @cached_property
    def _versions(self) -> Batcher[CustomerRead[None], ListVersion]:
        return self._batcher(self._list_versions)

    async def _list_versions(
        self, reads: Sequence[CustomerRead[None]]
    ) -> Sequence[ListVersion | Exception]:
        rows = await self._fetch(_LIST_VERSIONS, *parameters(reads))
        return in_order(
            {
                n: reads[n - 1].refusal()
                if favorites is None
                else ListVersion(favorites=favorites, catalog=catalog)
                for n, favorites, catalog in rows
            }
        )

    @override
    async def list_favorites(
        self, query: FavoriteQuery, *, session: SessionCheck | None = None
    ) -> FavoritesPage:
        return await self._lists[query.sort].submit(
            CustomerRead(query.customer_id, session, query)
        )

    @cached_property
    def _lists(self) -> dict[FavoriteSort, Batcher[CustomerRead[FavoriteQuery], FavoritesPage]]:
        return {
            sort: self._batcher(partial(self._list_favorites, sort), max_size=_LISTS_MAX)
            for sort in FavoriteSort
        }

    async def _list_favorites(
        self, sort: FavoriteSort, reads: Sequence[CustomerRead[FavoriteQuery]]
    ) -> Sequence[FavoritesPage | Exception]:
        rows = await self._fetch(
            LISTS[sort], *parameters(reads), *page_parameters(sort, [read.what for read in reads])
        )
        copies = await self._favorite_rows.copies(rows)
        return [
            self._page(read, rows_of_read, copies)
            for read, rows_of_read in zip(reads, rows_by_read(rows, len(reads)), strict=True)
        ]

    def _page(
        self, read: CustomerRead[FavoriteQuery], rows: Sequence[Any], copies: Mapping[int, Copy]
    ) -> FavoritesPage | Exception:
        first = rows[0]
        if first[_VERSION] is None:
            return read.refusal()
        query = read.what
        item, customer_id = self._favorite_rows.item, query.customer_id
        # A list without favorites is one row of nulls.
        items = [
            item(customer_id, row, copies) for row in rows[: query.limit] if row[0] is not None
        ]
        following = None
        if len(rows) > query.limit:
            following = position(query.sort, rows[query.limit - 1])
        return FavoritesPage(
            ListVersion(favorites=first[_VERSION], catalog=first[_VERSION + 1]),
            Page(items=items, next=following),
        )

    @override
    async def find_profile(
        self, customer_id: CustomerId, *, limit: int, session: SessionCheck | None = None
    ) -> ProfileRead:
        query = FavoriteQuery(customer_id=customer_id, limit=limit)
        return await self._profiles.submit(CustomerRead(customer_id, session, query))

    @cached_property
    def _profiles(self) -> Batcher[CustomerRead[FavoriteQuery], ProfileRead]:
        return self._batcher(self._find_profiles, max_size=_LISTS_MAX)

    async def _find_profiles(
        self, reads: Sequence[CustomerRead[FavoriteQuery]]
    ) -> Sequence[ProfileRead | Exception]:
        newest = [read.what for read in reads]
        rows = await self._fetch(
            PROFILES, *parameters(reads), *page_parameters(FavoriteSort.NEWEST, newest)
        )
        copies = await self._favorite_rows.copies(rows)
        results: list[ProfileRead | Exception] = []
        for read, rows_of_read in zip(reads, rows_by_read(rows, len(reads)), strict=True):
            page = self._page(read, rows_of_read, copies)
            if isinstance(page, FavoritesPage):
                customer = read_customer(*rows_of_read[0][_CUSTOMER:])
                results.append(ProfileRead(customer, page.version, page.page))
            else:
                results.append(page)
        return results

    @override
    async def find_favorite(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        session: SessionCheck | None = None,
    ) -> FoundFavorite:
        return await self._favorites.submit(CustomerRead(customer_id, session, product_id))

    @cached_property
    def _favorites(self) -> Batcher[CustomerRead[ProductId], FoundFavorite]:
        return self._batcher(self._find_favorites)

    async def _find_favorites(
        self, reads: Sequence[CustomerRead[ProductId]]
    ) -> Sequence[FoundFavorite | Exception]:
        rows = await self._fetch(
            _FIND_FAVORITES, *parameters(reads), [read.what for read in reads]
        )
        copies = await self._row_cache.resolve(
            {row[_PRODUCT]: row[_PRODUCT + 1] for row in rows if row[_PRODUCT] is not None}
        )
        return in_order(
            {row[ROW_NUMBER]: self._found(reads[row[ROW_NUMBER] - 1], row, copies) for row in rows}
        )

    def _found(
        self, read: CustomerRead[ProductId], row: Any, copies: Mapping[int, Copy]
    ) -> FoundFavorite | Exception:
        if row[_VERSION] is None:
            return session_ended()
        return FoundFavorite(
            ListVersion(favorites=row[_VERSION], catalog=row[_VERSION + 1]),
            None if row[0] is None else self._favorite_rows.item(read.customer_id, row, copies),
            copies.get(read.what),
        )

    @override
    async def contains(
        self,
        customer_id: CustomerId,
        product_ids: Collection[ProductId],
        *,
        session: SessionCheck | None = None,
    ) -> FavoritesContained:
        # As text: an array of arrays would need all of them to have the same length.
        text = f"{{{','.join(map(str, product_ids))}}}"
        return await self._contained.submit(CustomerRead(customer_id, session, text))

    @cached_property
    def _contained(self) -> Batcher[CustomerRead[str], FavoritesContained]:
        return self._batcher(self._find_contained)

    async def _find_contained(
        self, reads: Sequence[CustomerRead[str]]
    ) -> Sequence[FavoritesContained | Exception]:
        rows = await self._fetch(
            _FIND_CONTAINED, *parameters(reads), [read.what for read in reads]
        )
        return in_order(
            {
                n: reads[n - 1].refusal()
                if favorites is None
                else FavoritesContained(
                    ListVersion(favorites=favorites, catalog=catalog), frozenset(found)
                )
                for n, favorites, catalog, found in rows
            }
        )
