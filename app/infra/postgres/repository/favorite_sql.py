"""
The writes of jobs to favorites, and the order in which all transactions lock.

Several rows of a kind are locked in the order of their ids, so that transactions do not deadlock:

1. customers, then their sessions,
2. the state of the catalog, then the copies of products (`product_sql`),
3. lists of favorites (the function `lock_favorite_lists`),
4. favorites and removed favorites, under the lock of their list,
5. popularity, then jobs.

A list is locked in a statement of its own. The next statement sees everything that was committed
before, and the versions of a list follow each other in the order of commits.
"""

from typing import Any

from sqlalchemy import ARRAY, BigInteger, DateTime, Integer, Numeric, Text, Uuid, bindparam, text
from sqlalchemy.sql.elements import BindParameter, TextClause
from sqlalchemy.types import TypeEngine

_TIME = DateTime(timezone=True)
_TYPES: dict[str, TypeEngine[Any]] = {
    "customer_id": Uuid(),
    "customer_ids": ARRAY(Uuid()),
    "product_id": Integer(),
    "snapshot_title": Text(),
    "snapshot_price": Numeric(),
    "snapshot_image": Text(),
    "snapshot_rate": Numeric(),
    "snapshot_rating_count": BigInteger(),
    "rejected_at": _TIME,
    "before": _TIME,
    "limit": Integer(),
}


def _statement(sql: str, *names: str) -> TextClause:
    parameters: list[BindParameter[Any]] = [bindparam(n, type_=_TYPES[n]) for n in names]
    return text(sql).bindparams(*parameters)


LOCK_LISTS_WITH_PENDING = _statement(
    """
    SELECT lock_favorite_lists(
        ARRAY(
            SELECT customer_id FROM favorites
            WHERE product_id = :product_id AND favorite_is_pending(snapshot_title, rejected_at)
        ),
        true
    )
    """,
    "product_id",
)

# Lists with a favorite that became pending since are not among those locked; it has a job.
SETTLE = _statement(
    """
    WITH pending AS (
        SELECT customer_id FROM favorites
        WHERE product_id = :product_id AND favorite_is_pending(snapshot_title, rejected_at)
            AND customer_id = ANY (:customer_ids)
    ), counted AS (
        UPDATE favorite_lists AS l SET version = l.version + 1
        FROM pending WHERE l.customer_id = pending.customer_id
        RETURNING l.customer_id, l.version
    )
    UPDATE favorites AS f SET
        snapshot_title = :snapshot_title,
        snapshot_price = :snapshot_price,
        snapshot_image = :snapshot_image,
        snapshot_rate = :snapshot_rate,
        snapshot_rating_count = :snapshot_rating_count,
        rejected_at = :rejected_at,
        changed_in = counted.version
    FROM counted
    WHERE f.customer_id = counted.customer_id AND f.product_id = :product_id
    RETURNING f.customer_id
    """,
    "product_id",
    "customer_ids",
    "snapshot_title",
    "snapshot_price",
    "snapshot_image",
    "snapshot_rate",
    "snapshot_rating_count",
    "rejected_at",
)

FORGET_CONTENT = _statement(
    """
    UPDATE favorite_tombstones AS t SET
        favorited_at = NULL,
        snapshot_title = NULL,
        snapshot_price = NULL,
        snapshot_image = NULL,
        snapshot_rate = NULL,
        snapshot_rating_count = NULL,
        rejected_at = NULL
    FROM (
        SELECT customer_id, product_id FROM favorite_tombstones
        WHERE removed_at < :before AND favorited_at IS NOT NULL
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE t.customer_id = old.customer_id AND t.product_id = old.product_id
    RETURNING t.product_id
    """,
    "before",
    "limit",
)

# Lists that are being changed are left to the next run.
LOCK_LISTS_TO_FORGET_IN = _statement(
    """
    SELECT customer_id FROM favorite_lists
    WHERE customer_id IN (
        SELECT customer_id FROM favorite_tombstones WHERE removed_at < :before
        ORDER BY removed_at LIMIT :limit
    )
    FOR NO KEY UPDATE SKIP LOCKED
    """,
    "before",
    "limit",
)

FORGET = _statement(
    """
    WITH forgotten AS (
        DELETE FROM favorite_tombstones
        WHERE customer_id = ANY (:customer_ids) AND removed_at < :before
        RETURNING customer_id, changed_in
    ), noted AS (
        UPDATE favorite_lists AS l SET forgotten_to = greatest(l.forgotten_to, last.version)
        FROM (
            SELECT customer_id, max(changed_in) AS version FROM forgotten GROUP BY customer_id
        ) AS last
        WHERE l.customer_id = last.customer_id
    )
    SELECT count(*) FROM forgotten
    """,
    "customer_ids",
    "before",
)

# The favorites of a customer who is locked and about to be removed.
DISFAVOR_ALL = _statement(
    """
    UPDATE product_popularity AS p SET favorites = greatest(p.favorites - 1, 0)
    FROM (
        SELECT product_id FROM product_popularity
        WHERE product_id IN (SELECT product_id FROM favorites WHERE customer_id = :customer_id)
        ORDER BY product_id
        FOR NO KEY UPDATE
    ) AS disfavored
    WHERE p.product_id = disfavored.product_id
    """,
    "customer_id",
)
