"""
The writes to lists of favorites.

Whoever changes a customer's list locks it first (`LOCK_LIST`), in a statement of its own: what the
next ones read cannot change before the transaction ends, and the list's versions follow each other
in the order of commits.

All transactions lock in this order, several of a kind in that of their ids, so that no two wait
for each other:

1. customers (their sessions after them),
2. the catalog's state, then the copies of products (`product_sql`),
3. lists of favorites,
4. favorites and what is remembered of removed ones, under the lock of their list,
5. popularity, then jobs.
"""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    DateTime,
    Integer,
    Numeric,
    Text,
    Uuid,
    bindparam,
    text,
)
from sqlalchemy.sql.elements import BindParameter, TextClause
from sqlalchemy.types import TypeEngine

_MOMENT = DateTime(timezone=True)
_TYPES: dict[str, TypeEngine[Any]] = {
    "customer_id": Uuid(),
    "customer_ids": ARRAY(Uuid()),
    "product_id": Integer(),
    "favorited_at": _MOMENT,
    "snapshot_title": Text(),
    "snapshot_price": Numeric(),
    "snapshot_image": Text(),
    "snapshot_rate": Numeric(),
    "snapshot_rating_count": BigInteger(),
    "rejected_at": _MOMENT,
    "removed_since": _MOMENT,
    "now": _MOMENT,
    "before": _MOMENT,
    "at_most": Integer(),
    "limit": Integer(),
    "since_version": BigInteger(),
    "since_product_id": Integer(),
    "from_beginning": Boolean(),
}


def _statement(sql: str, *names: str) -> TextClause:
    parameters: list[BindParameter[Any]] = [bindparam(n, type_=_TYPES[n]) for n in names]
    return text(sql).bindparams(*parameters)


_CONTENT = (
    "favorited_at",
    "snapshot_title",
    "snapshot_price",
    "snapshot_image",
    "snapshot_rate",
    "snapshot_rating_count",
    "rejected_at",
)
_COLUMNS = ", ".join(_CONTENT)

# The customer is kept from being removed meanwhile. A new list knows the states of products.
LOCK_LIST = _statement(
    """
    INSERT INTO favorite_lists AS l (customer_id, catalog_seen)
    SELECT id, coalesce((SELECT content_version FROM catalog_state WHERE id = 1), 0)
    FROM customers AS c WHERE c.id = :customer_id FOR KEY SHARE OF c
    ON CONFLICT (customer_id) DO UPDATE SET version = l.version
    RETURNING version, size
    """,
    "customer_id",
)

LOCK_LISTS_WITH_PENDING = _statement(
    """
    INSERT INTO favorite_lists AS l (customer_id)
    SELECT c.id FROM customers AS c
    WHERE c.id IN (
        SELECT customer_id FROM favorites
        WHERE product_id = :product_id AND snapshot_title IS NULL AND rejected_at IS NULL
    )
    ORDER BY c.id
    FOR KEY SHARE OF c
    ON CONFLICT (customer_id) DO UPDATE SET version = l.version
    RETURNING customer_id
    """,
    "product_id",
)

# A favorite takes the place of one that was rejected; that one counts already.
PUT = _statement(
    f"""
    WITH list AS (
        SELECT version + 1 AS next, size FROM favorite_lists WHERE customer_id = :customer_id
    ), present AS (
        SELECT rejected_at IS NOT NULL AS replaceable FROM favorites
        WHERE customer_id = :customer_id AND product_id = :product_id
    ), added AS (
        INSERT INTO favorites AS f (customer_id, product_id, {_COLUMNS}, added_in, changed_in)
        SELECT :customer_id, :product_id, {", ".join(f":{name}" for name in _CONTENT)}, next, next
        FROM list WHERE coalesce((SELECT replaceable FROM present), size < :at_most)
        ON CONFLICT ON CONSTRAINT pk_favorites DO UPDATE SET
            {", ".join(f"{name} = excluded.{name}" for name in _CONTENT)},
            added_in = excluded.added_in,
            changed_in = excluded.changed_in
        WHERE f.rejected_at IS NOT NULL
        RETURNING f.customer_id, f.product_id, f.added_in
    ), forgotten AS (
        DELETE FROM favorite_tombstones AS t USING added
        WHERE t.customer_id = added.customer_id AND t.product_id = added.product_id
    ), counted AS (
        UPDATE favorite_lists AS l
        SET version = added.added_in, size = l.size + (SELECT 1 - count(*) FROM present)
        FROM added WHERE l.customer_id = added.customer_id
    ), favored AS (
        INSERT INTO product_popularity AS p (product_id, favorites)
        SELECT product_id, 1 FROM added WHERE NOT EXISTS (SELECT FROM present)
        ON CONFLICT (product_id) DO UPDATE SET favorites = p.favorites + 1
    )
    SELECT (SELECT count(*) FROM added), (SELECT count(*) FROM present)
    """,  # noqa: S608 - made of our own constants
    "customer_id",
    "product_id",
    "at_most",
    *_CONTENT,
)

# Counts do not fall below zero, whatever the release before has not counted.
REMOVE = _statement(
    f"""
    WITH removed AS (
        DELETE FROM favorites WHERE customer_id = :customer_id AND product_id = :product_id
        RETURNING customer_id, product_id, {_COLUMNS}
    ), counted AS (
        UPDATE favorite_lists AS l SET version = l.version + 1, size = greatest(l.size - 1, 0)
        FROM removed WHERE l.customer_id = removed.customer_id
        RETURNING l.customer_id, l.version
    ), remembered AS (
        INSERT INTO favorite_tombstones (
            customer_id, product_id, changed_in, removed_at, {_COLUMNS}
        )
        SELECT customer_id, product_id, version, :now, {_COLUMNS}
        FROM removed JOIN counted USING (customer_id)
        ON CONFLICT ON CONSTRAINT pk_favorite_tombstones DO UPDATE SET
            changed_in = excluded.changed_in,
            removed_at = excluded.removed_at,
            {", ".join(f"{name} = excluded.{name}" for name in _CONTENT)}
    ), disfavored AS (
        UPDATE product_popularity AS p SET favorites = greatest(p.favorites - 1, 0)
        FROM removed WHERE p.product_id = removed.product_id
    )
    SELECT count(*) FROM removed
    """,  # noqa: S608 - made of our own constants
    "customer_id",
    "product_id",
    "now",
)

RESTORE = _statement(
    f"""
    WITH list AS (
        SELECT version + 1 AS next, size FROM favorite_lists WHERE customer_id = :customer_id
    ), restorable AS (
        SELECT customer_id, product_id, {_COLUMNS} FROM favorite_tombstones AS t
        WHERE customer_id = :customer_id AND product_id = :product_id
            AND removed_at >= :removed_since AND favorited_at IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM favorites AS f
                WHERE f.customer_id = t.customer_id AND f.product_id = t.product_id
            )
    ), added AS (
        INSERT INTO favorites (customer_id, product_id, {_COLUMNS}, added_in, changed_in)
        SELECT customer_id, product_id, {_COLUMNS}, next, next
        FROM restorable CROSS JOIN list WHERE size < :at_most
        RETURNING customer_id, product_id, added_in
    ), forgotten AS (
        DELETE FROM favorite_tombstones AS t USING added
        WHERE t.customer_id = added.customer_id AND t.product_id = added.product_id
    ), counted AS (
        UPDATE favorite_lists AS l SET version = added.added_in, size = l.size + 1
        FROM added WHERE l.customer_id = added.customer_id
    ), favored AS (
        INSERT INTO product_popularity AS p (product_id, favorites)
        SELECT product_id, 1 FROM added
        ON CONFLICT (product_id) DO UPDATE SET favorites = p.favorites + 1
    )
    SELECT (SELECT count(*) FROM added), (SELECT count(*) FROM restorable)
    """,  # noqa: S608 - made of our own constants
    "customer_id",
    "product_id",
    "removed_since",
    "at_most",
)

# The lists are locked. Those that began to wait since are not among them, and have a job.
SETTLE = _statement(
    """
    WITH pending AS (
        SELECT customer_id FROM favorites
        WHERE product_id = :product_id AND snapshot_title IS NULL AND rejected_at IS NULL
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

# What the catalog did to products since the last time is one change of the list.
NOTE_STATES = _statement(
    """
    WITH concerned AS (
        SELECT f.customer_id, f.product_id
        FROM favorite_lists AS l
        JOIN favorites AS f ON f.customer_id = l.customer_id
        JOIN products_cache AS p
            ON p.product_id = f.product_id
            AND p.state_version > l.catalog_seen AND p.state_version > 0
        WHERE l.customer_id = :customer_id
    ), counted AS (
        UPDATE favorite_lists AS l SET
            version = l.version + 1,
            catalog_seen = (SELECT content_version FROM catalog_state WHERE id = 1)
        WHERE l.customer_id = :customer_id AND EXISTS (SELECT FROM concerned)
        RETURNING l.customer_id, l.version
    )
    UPDATE favorites AS f SET changed_in = counted.version
    FROM concerned JOIN counted USING (customer_id)
    WHERE f.customer_id = concerned.customer_id AND f.product_id = concerned.product_id
    """,
    "customer_id",
)

VERSION = _statement(
    """
    SELECT
        coalesce((SELECT version FROM favorite_lists WHERE customer_id = :customer_id), 0),
        coalesce((SELECT content_version FROM catalog_state WHERE id = 1), 0)
    """,
    "customer_id",
)

# One statement, so that the version is that of what is read.
HISTORY = _statement(
    """
    SELECT
        coalesce(l.version, 0),
        coalesce(l.forgotten_to, 0),
        EXISTS (
            SELECT FROM products_cache AS p
            JOIN favorites AS f
                ON f.product_id = p.product_id AND f.customer_id = :customer_id
            WHERE p.state_version > l.catalog_seen AND p.state_version > 0
        ),
        event.product_id, event.changed_in, event.added_in, event.removed
    FROM (SELECT) AS always
    LEFT JOIN favorite_lists AS l ON l.customer_id = :customer_id
    LEFT JOIN LATERAL (
        (
            SELECT product_id, changed_in, added_in, false AS removed
            FROM favorites
            WHERE customer_id = :customer_id
                AND (changed_in, product_id) > (:since_version, :since_product_id)
            ORDER BY changed_in, product_id
            LIMIT :limit
        )
        UNION ALL
        (
            SELECT product_id, changed_in, 0, true
            FROM favorite_tombstones AS t
            WHERE NOT :from_beginning AND customer_id = :customer_id
                AND (changed_in, product_id) > (:since_version, :since_product_id)
                AND NOT EXISTS (
                    SELECT FROM favorites AS f
                    WHERE f.customer_id = t.customer_id AND f.product_id = t.product_id
                )
            ORDER BY changed_in, product_id
            LIMIT :limit
        )
        ORDER BY changed_in, product_id
        LIMIT :limit
    ) AS event ON true
    ORDER BY event.changed_in, event.product_id
    """,
    "customer_id",
    "since_version",
    "since_product_id",
    "from_beginning",
    "limit",
)

FORGET_CONTENT = _statement(
    f"""
    UPDATE favorite_tombstones AS t SET {", ".join(f"{name} = NULL" for name in _CONTENT)}
    FROM (
        SELECT customer_id, product_id FROM favorite_tombstones
        WHERE removed_at < :before AND favorited_at IS NOT NULL
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE t.customer_id = old.customer_id AND t.product_id = old.product_id
    RETURNING t.product_id
    """,  # noqa: S608 - made of our own constants
    "before",
    "limit",
)

# Lists that somebody changes at this moment have their turn the next time.
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

# A customer's favorites, when they are locked for good.
DISFAVOR_ALL = _statement(
    """
    UPDATE product_popularity AS p SET favorites = greatest(p.favorites - 1, 0)
    FROM (
        SELECT product_id FROM product_popularity
        WHERE product_id IN (SELECT product_id FROM favorites WHERE customer_id = :customer_id)
        ORDER BY product_id
        FOR NO KEY UPDATE
    ) AS theirs
    WHERE p.product_id = theirs.product_id
    """,
    "customer_id",
)
