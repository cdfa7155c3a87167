from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, Integer, Uuid, bindparam, text
from sqlmodel import col, select
from typing_extensions import override

from app.domain.product import PopularProduct
from app.domain.repository import PopularityRepository
from app.infra.postgres.orm.favorite import PopularityRow
from app.infra.postgres.orm.product import ProductRow
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresPopularityRepository(PopularityRepository):
    """
    Counts are changed by the statements that add and remove favorites (`favorite_sql`).

    Reconciling mends the sizes of lists as well.
    """

    _transaction: Transaction

    @override
    async def list_popular(self, *, at_least: int, limit: int) -> Sequence[PopularProduct]:
        rows = await self._transaction.rows(
            select(ProductRow, PopularityRow.favorites)
            .join(PopularityRow, col(PopularityRow.product_id) == col(ProductRow.product_id))
            .where(
                col(PopularityRow.favorites) >= at_least,
                col(ProductRow.fetched_at).is_not(None),
                col(ProductRow.removed_at).is_(None),
            )
            .order_by(col(PopularityRow.favorites).desc(), col(PopularityRow.product_id).desc())
            .limit(limit)
        )
        return [
            PopularProduct(cached=cached, favorites=favorites)
            for row, favorites in rows
            if (cached := row.to_cached())
        ]

    @override
    async def reconcile(self) -> int:
        # One statement sees favorites and counts as they belong together: what differs there is
        # wrong. Only that is locked, and counted by a later statement, which sees everything that
        # was committed before the lock was ours.
        repaired = 0
        if lists := [row[0] for row in await self._transaction.sql(_WRONG_LISTS)]:
            await self._transaction.sql(_LOCK_LISTS, customer_ids=lists)
            repaired += len(await self._transaction.sql(_COUNT_LISTS, customer_ids=lists))
        if products := [row[0] for row in await self._transaction.sql(_WRONG_PRODUCTS)]:
            await self._transaction.sql(_LOCK_PRODUCTS, product_ids=products)
            repaired += len(await self._transaction.sql(_COUNT_PRODUCTS, product_ids=products))
        return repaired


_WRONG_LISTS = text("""
    SELECT customer_id
    FROM favorite_lists AS l
    FULL JOIN (
        SELECT customer_id, count(*) AS size FROM favorites GROUP BY customer_id
    ) AS counted USING (customer_id)
    WHERE l.size IS DISTINCT FROM coalesce(counted.size, 0)
""")

_LOCK_LISTS = text("""
    INSERT INTO favorite_lists AS l (customer_id)
    SELECT id FROM customers AS c WHERE id = ANY (:customer_ids) ORDER BY id FOR KEY SHARE OF c
    ON CONFLICT (customer_id) DO UPDATE SET version = l.version
""").bindparams(bindparam("customer_ids", type_=ARRAY(Uuid())))

# Something was changed without being entered into the list's history: everybody starts over.
_COUNT_LISTS = text("""
    UPDATE favorite_lists AS l
    SET size = counted.size, version = l.version + 1, forgotten_to = l.version + 1
    FROM (
        SELECT id, (SELECT count(*) FROM favorites WHERE customer_id = id) AS size
        FROM unnest(:customer_ids) AS id
    ) AS counted
    WHERE l.customer_id = counted.id AND l.size <> counted.size
    RETURNING l.customer_id
""").bindparams(bindparam("customer_ids", type_=ARRAY(Uuid())))

_WRONG_PRODUCTS = text("""
    SELECT product_id
    FROM product_popularity AS p
    FULL JOIN (
        SELECT product_id, count(*) AS favorites FROM favorites GROUP BY product_id
    ) AS counted USING (product_id)
    WHERE p.favorites IS DISTINCT FROM coalesce(counted.favorites, 0)
""")

_LOCK_PRODUCTS = text("""
    INSERT INTO product_popularity AS p (product_id, favorites)
    SELECT id, 0 FROM unnest(:product_ids) AS id ORDER BY id
    ON CONFLICT (product_id) DO UPDATE SET favorites = p.favorites
""").bindparams(bindparam("product_ids", type_=ARRAY(Integer)))

_COUNT_PRODUCTS = text("""
    UPDATE product_popularity AS p
    SET favorites = counted.favorites
    FROM (
        SELECT id, (SELECT count(*) FROM favorites WHERE product_id = id) AS favorites
        FROM unnest(:product_ids) AS id
    ) AS counted
    WHERE p.product_id = counted.id AND p.favorites <> counted.favorites
    RETURNING p.product_id
""").bindparams(bindparam("product_ids", type_=ARRAY(Integer)))
