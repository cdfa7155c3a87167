from dataclasses import dataclass

from sqlalchemy import ARRAY, Integer, Uuid, bindparam, text
from typing_extensions import override

from app.domain.repository import PopularityRepository
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresPopularityRepository(PopularityRepository):
    """
    Corrects the counts that the functions which add and remove favorites maintain.

    The sizes of lists are corrected as well.
    """

    _transaction: Transaction

    @override
    async def reconcile(self) -> int:
        # One statement sees favorites and counts that belong together: a difference is an error.
        # Only rows with one are locked, and then counted by a later statement, which sees
        # everything that was committed before the lock was taken.
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

_LOCK_LISTS = text("SELECT lock_favorite_lists(:customer_ids, true)").bindparams(
    bindparam("customer_ids", type_=ARRAY(Uuid()))
)

# A change is missing in the history of the list, so clients have to start over.
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
