from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from typing_extensions import override

from app.domain.access import SessionCheck
from app.domain.customer import CustomerId
from app.domain.favorite import ChangePosition, Changes
from app.infra.postgres.batcher import Batcher
from app.infra.postgres.queries.customer_read import JOINS, LIST_VERSION, CustomerRead, parameters
from app.infra.postgres.queries.favorite_rows import FAVORITE_COLUMNS, ROW_NUMBER, rows_by_read
from app.infra.postgres.queries.favorites import FavoriteQueries
from app.infra.postgres.queries.history import Event, History

_LISTS_MAX = 16

# The history is `behind` if the catalog removed favorited products, or listed them again, after
# the last version of the catalog that was entered. OFFSET 0 makes the changed products the outer
# side of the join: usually there are none, while a list may be long.
_LIST_CHANGES = f"""
    SELECT {FAVORITE_COLUMNS}, q.n, {LIST_VERSION}, coalesce(l.forgotten_to, 0), h.behind,
        e.product_id, e.changed_in, e.added_in
    FROM unnest(
        $1::uuid[], $3::uuid[], $4::bigint[], $5::int[], $6::boolean[], $7::int[]
    ) WITH ORDINALITY AS q (
        session_id, customer_id, version, product_id, from_beginning, max_rows, n
    ){JOINS}
    LEFT JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM (
                SELECT p.product_id FROM products_cache AS p
                WHERE p.state_version > l.catalog_seen AND p.state_version > 0
                OFFSET 0
            ) AS p
            JOIN favorites AS f ON f.customer_id = q.customer_id AND f.product_id = p.product_id
        ) AS behind
        OFFSET 0
    ) AS h ON true
    LEFT JOIN LATERAL (
        (
            SELECT f.product_id, f.changed_in, f.added_in, false AS removed
            FROM favorites AS f
            WHERE f.customer_id = q.customer_id
                AND (f.changed_in, f.product_id) > (q.version, q.product_id)
            ORDER BY f.changed_in, f.product_id
            LIMIT q.max_rows
        )
        UNION ALL
        (
            SELECT t.product_id, t.changed_in, 0, true
            FROM favorite_tombstones AS t
            WHERE NOT q.from_beginning AND t.customer_id = q.customer_id
                AND (t.changed_in, t.product_id) > (q.version, q.product_id)
                AND NOT EXISTS (
                    SELECT FROM favorites AS f
                    WHERE f.customer_id = t.customer_id AND f.product_id = t.product_id
                )
            ORDER BY t.changed_in, t.product_id
            LIMIT q.max_rows
        )
        ORDER BY changed_in, product_id
        LIMIT q.max_rows
    ) AS e ON true
    LEFT JOIN LATERAL (
        SELECT f.*, p.xmin AS version
        FROM favorites AS f
        LEFT JOIN products_cache AS p
            ON p.product_id = f.product_id AND p.fetched_at IS NOT NULL
        WHERE f.customer_id = q.customer_id AND f.product_id = e.product_id AND NOT e.removed
    ) AS f ON true
    ORDER BY q.n, e.changed_in, e.product_id
"""  # noqa: S608 - constants

_HISTORY = ROW_NUMBER + 1
_EVENT = _HISTORY + 4


class _Range(NamedTuple):
    since: ChangePosition
    limit: int


class ChangeQueries(FavoriteQueries):
    """Reads of what changed in lists of favorites."""

    @override
    async def list_changes(
        self,
        customer_id: CustomerId,
        *,
        since: ChangePosition,
        limit: int,
        session: SessionCheck | None = None,
    ) -> Changes:
        return await self._changes.submit(CustomerRead(customer_id, session, _Range(since, limit)))

    @cached_property
    def _changes(self) -> Batcher[CustomerRead[_Range], Changes]:
        return self._batcher(self._list_changes, max_size=_LISTS_MAX)

    async def _list_changes(
        self, reads: Sequence[CustomerRead[_Range]]
    ) -> Sequence[Changes | Exception]:
        positions = [read.what.since for read in reads]
        rows = await self._fetch(
            _LIST_CHANGES,
            *parameters(reads),
            [since.version for since in positions],
            [since.product_id for since in positions],
            [since.from_beginning for since in positions],
            # One more than asked for tells whether there are more.
            [read.what.limit + 1 for read in reads],
        )
        copies = await self._favorite_rows.copies(rows)
        results: list[Changes | Exception] = []
        for read, rows_of_read in zip(reads, rows_by_read(rows, len(reads)), strict=True):
            version, _, forgotten_to, behind = rows_of_read[0][_HISTORY:_EVENT]
            if version is None:
                results.append(read.refusal())
                continue
            history = History(
                version=version,
                forgotten_to=forgotten_to,
                behind=behind,
                events=[
                    Event(
                        product_id=product_id,
                        changed_in=changed_in,
                        added_in=added_in,
                        item=None
                        if row[0] is None
                        else self._favorite_rows.item(read.customer_id, row, copies),
                    )
                    for row in rows_of_read
                    for product_id, changed_in, added_in in (row[_EVENT:],)
                    if product_id is not None
                ],
            )
            since, limit = read.what
            results.append(history.refusal(since) or history.changes(since, limit))
        return results
