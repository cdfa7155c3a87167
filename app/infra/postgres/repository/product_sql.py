"""
The writes to the cache of products, each one conditional statement.

A condition is evaluated on the locked version of a row (`ON CONFLICT DO UPDATE` and `UPDATE` read
the newest), never on the result of an earlier query.

A write that changes how products look locks the state of the catalog first (`LOCK_CATALOG`):
versions of the content follow each other in the order of commits, and the order of locks is the
one of `favorite_sql`.
"""

from typing import Any

from sqlalchemy import ARRAY, BigInteger, DateTime, Integer, Numeric, Text, bindparam, text
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import TypeEngine

from app.infra.postgres.rows import CATALOG_COLUMNS, PRODUCT_COLUMNS

_MOMENT = DateTime(timezone=True)
_TYPES: dict[str, TypeEngine[Any]] = {
    "product_ids": ARRAY(Integer),
    "product_id": Integer(),
    "titles": ARRAY(Text),
    "title_keys": ARRAY(Text),
    "prices": ARRAY(Numeric),
    "descriptions": ARRAY(Text),
    "categories": ARRAY(Text),
    "images": ARRAY(Text),
    "rates": ARRAY(Numeric),
    "rating_counts": ARRAY(BigInteger),
    "now": _MOMENT,
    "until": _MOMENT,
    "asked_at": _MOMENT,
}


def _parameters(*names: str) -> list[BindParameter[Any]]:
    return [bindparam(name, type_=_TYPES[name]) for name in names]


GET = text(
    f"SELECT {PRODUCT_COLUMNS} FROM products_cache AS p WHERE p.product_id = :product_id"  # noqa: S608 - constants
).bindparams(*_parameters("product_id"))

GET_CATALOG = text(f"SELECT {CATALOG_COLUMNS} FROM catalog_state AS g")  # noqa: S608 - constants

# A product whose lease is seen to be taken is left out, instead of waiting for its row.
ACQUIRE_LEASE = text("""
    INSERT INTO products_cache AS p (product_id, claimed_until)
    SELECT id, :until
    FROM unnest(:product_ids) AS id
    LEFT JOIN products_cache AS seen ON seen.product_id = id
    WHERE coalesce(seen.claimed_until <= :now, true) AND coalesce(seen.blocked_until <= :now, true)
    ORDER BY id
    ON CONFLICT (product_id) DO UPDATE SET claimed_until = excluded.claimed_until
    WHERE coalesce(p.claimed_until <= :now, true) AND coalesce(p.blocked_until <= :now, true)
    RETURNING product_id
""").bindparams(*_parameters("product_ids", "now", "until"))

BLOCK = text("""
    INSERT INTO products_cache AS p (product_id, blocked_until)
    SELECT id, :until FROM unnest(:product_ids) AS id ORDER BY id
    ON CONFLICT (product_id) DO UPDATE
    SET claimed_until = NULL, blocked_until = greatest(p.blocked_until, excluded.blocked_until)
""").bindparams(*_parameters("product_ids", "until"))

LOCK_CATALOG = text("""
    INSERT INTO catalog_state AS c (id) VALUES (1)
    ON CONFLICT (id) DO UPDATE SET content_version = c.content_version
""")

# A price is recorded if this response is the first with it; of two responses to requests of the
# same moment the last one counts.
STORE = text("""
    WITH given AS (
        SELECT *
        FROM unnest(
            :product_ids, :titles, :title_keys, :prices, :descriptions, :categories, :images,
            :rates, :rating_counts
        ) AS given (
            product_id, title, title_key, price, description, category, image,
            rating_rate, rating_count
        )
    ), catalog AS (
        SELECT content_version + 1 AS next FROM catalog_state WHERE id = 1
    ), looks_changed AS (
        UPDATE catalog_state SET content_version = content_version + 1
        WHERE id = 1 AND EXISTS (
            SELECT FROM given LEFT JOIN products_cache AS p USING (product_id)
            WHERE p.fetched_at IS NULL OR (
                p.fetched_at <= :asked_at AND (
                    p.removed_at <= :asked_at OR (
                        p.title, p.price, p.description, p.category, p.image,
                        p.rating_rate, p.rating_count
                    ) IS DISTINCT FROM (
                        given.title, given.price, given.description, given.category, given.image,
                        given.rating_rate, given.rating_count
                    )
                )
            )
        )
    ), kept AS (
        INSERT INTO products_cache AS p (
            product_id, title, title_key, price, description, category, image,
            rating_rate, rating_count, fetched_at, price_since
        )
        SELECT
            given.product_id, title, title_key, price, description, category, image,
            rating_rate, rating_count, :asked_at, :asked_at
        FROM given
        ORDER BY given.product_id
        ON CONFLICT (product_id) DO UPDATE SET
            title = excluded.title,
            title_key = excluded.title_key,
            price = excluded.price,
            price_since = CASE
                WHEN p.price = excluded.price THEN p.price_since ELSE excluded.price_since
            END,
            description = excluded.description,
            category = excluded.category,
            image = excluded.image,
            rating_rate = excluded.rating_rate,
            rating_count = excluded.rating_count,
            fetched_at = excluded.fetched_at,
            claimed_until = NULL,
            blocked_until = NULL,
            absent_until = NULL,
            -- A later request may have been answered that it is gone.
            missing_since = CASE
                WHEN coalesce(p.removed_at, p.missing_since) > :asked_at THEN p.missing_since
            END,
            removed_at = CASE WHEN p.removed_at > :asked_at THEN p.removed_at END,
            state_version = CASE
                WHEN p.removed_at <= :asked_at THEN (SELECT next FROM catalog)
                ELSE p.state_version
            END
        WHERE coalesce(p.fetched_at <= :asked_at, true)
        RETURNING p.product_id, p.price, p.price_since
    )
    INSERT INTO product_prices (product_id, seen_at, price)
    SELECT product_id, price_since, price FROM kept WHERE price_since = :asked_at
    ON CONFLICT (product_id, seen_at) DO UPDATE SET price = excluded.price
""").bindparams(
    *_parameters(
        "asked_at",
        "product_ids",
        "titles",
        "title_keys",
        "prices",
        "descriptions",
        "categories",
        "images",
        "rates",
        "rating_counts",
    )
)

NOTE_ABSENCE = text("""
    WITH catalog AS (
        SELECT content_version + 1 AS next FROM catalog_state WHERE id = 1
    ), noted AS (
        INSERT INTO products_cache AS p (product_id, absent_until)
        VALUES (:product_id, :until)
        ON CONFLICT (product_id) DO UPDATE SET
            absent_until = CASE
                WHEN p.fetched_at IS NULL THEN greatest(p.absent_until, excluded.absent_until)
            END,
            missing_since = CASE
                WHEN p.fetched_at IS NOT NULL THEN coalesce(p.missing_since, :asked_at)
            END,
            removed_at = CASE
                WHEN p.removed_at IS NULL AND p.missing_since < :asked_at THEN :asked_at
                ELSE p.removed_at
            END,
            state_version = CASE
                WHEN p.removed_at IS NULL AND p.missing_since < :asked_at
                THEN (SELECT next FROM catalog)
                ELSE p.state_version
            END,
            claimed_until = NULL,
            blocked_until = NULL
        WHERE coalesce(p.fetched_at <= :asked_at, true)
        RETURNING p.state_version
    )
    UPDATE catalog_state SET content_version = noted.state_version
    FROM noted WHERE id = 1 AND noted.state_version > content_version
""").bindparams(*_parameters("product_id", "asked_at", "until"))

NOTE_UNLISTED = text("""
    WITH catalog AS (
        SELECT content_version + 1 AS next FROM catalog_state WHERE id = 1
    ), unlisted AS (
        SELECT product_id FROM products_cache
        WHERE product_id <> ALL (:product_ids) AND fetched_at <= :asked_at AND removed_at IS NULL
        ORDER BY product_id
        FOR NO KEY UPDATE
    ), noted AS (
        UPDATE products_cache AS p SET
            missing_since = coalesce(p.missing_since, :asked_at),
            removed_at = CASE WHEN p.missing_since < :asked_at THEN :asked_at END,
            state_version = CASE
                WHEN p.missing_since < :asked_at THEN (SELECT next FROM catalog)
                ELSE p.state_version
            END
        FROM unlisted
        WHERE p.product_id = unlisted.product_id
        RETURNING p.product_id, p.removed_at IS NOT NULL AS removed
    ), looks_changed AS (
        UPDATE catalog_state SET content_version = content_version + 1
        WHERE id = 1 AND EXISTS (SELECT FROM noted WHERE removed)
    )
    SELECT product_id, removed FROM noted
""").bindparams(*_parameters("product_ids", "asked_at"))

NOTE_CATALOG = text("""
    INSERT INTO catalog_state AS c (id, fetched_at) VALUES (1, :asked_at)
    ON CONFLICT (id) DO UPDATE SET
        fetched_at = greatest(c.fetched_at, excluded.fetched_at),
        claimed_until = NULL,
        blocked_until = NULL
""").bindparams(*_parameters("asked_at"))

ACQUIRE_CATALOG_LEASE = text("""
    INSERT INTO catalog_state AS c (id, claimed_until) VALUES (1, :until)
    ON CONFLICT (id) DO UPDATE SET claimed_until = excluded.claimed_until
    WHERE coalesce(c.claimed_until <= :now, true) AND coalesce(c.blocked_until <= :now, true)
    RETURNING id
""").bindparams(*_parameters("now", "until"))

BLOCK_CATALOG = text("""
    INSERT INTO catalog_state AS c (id, blocked_until) VALUES (1, :until)
    ON CONFLICT (id) DO UPDATE
    SET claimed_until = NULL, blocked_until = greatest(c.blocked_until, excluded.blocked_until)
""").bindparams(*_parameters("until"))

PURGE_UNKNOWN = text("""
    DELETE FROM products_cache
    WHERE product_id IN (
        SELECT product_id FROM products_cache
        WHERE fetched_at IS NULL
            AND coalesce(absent_until <= :now, true)
            AND coalesce(claimed_until <= :now, true)
            AND coalesce(blocked_until <= :now, true)
        FOR UPDATE SKIP LOCKED
    )
    RETURNING product_id
""").bindparams(*_parameters("now"))
