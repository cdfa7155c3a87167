"""
A function that adds favorites if the session and the copy of the product are still valid.

Only an addition, so that the release before keeps working; it calls the function of 0004.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

# A lock is written to disk, so customers without a favorite to add are not locked.
_UP = """
CREATE FUNCTION add_favorites(
    p_customer_ids uuid[], p_session_ids uuid[], p_now timestamptz, p_product_ids integer[],
    p_versions xid[], p_favorited_at timestamptz[], p_titles text[], p_prices numeric[],
    p_images text[], p_rates numeric[], p_counts bigint[], p_at_most integer
) RETURNS TABLE (
    n bigint, added boolean, favorited_at timestamptz, snapshot_title text, snapshot_price numeric,
    snapshot_image text, snapshot_rate numeric, snapshot_rating_count bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    allowed bigint[];
    kept uuid[];
BEGIN
    allowed := ARRAY(
        SELECT a.n
        FROM unnest(p_customer_ids, p_session_ids, p_product_ids, p_versions) WITH ORDINALITY
            AS a (customer_id, session_id, product_id, version, n)
        WHERE (a.session_id IS NULL OR EXISTS (
            SELECT FROM sessions AS s
            WHERE s.id = a.session_id AND s.customer_id = a.customer_id
                AND s.ended_at IS NULL AND s.idle_expires_at > p_now AND s.expires_at > p_now
        )) AND (a.version IS NULL OR EXISTS (
            SELECT FROM products_cache AS p
            WHERE p.product_id = a.product_id AND p.xmin = a.version
        ))
    );
    kept := ARRAY(
        SELECT c.id
        FROM unnest(p_customer_ids, p_product_ids) WITH ORDINALITY
            AS a (customer_id, product_id, n)
        JOIN customers AS c ON c.id = a.customer_id
        WHERE a.n = ANY (allowed) AND NOT EXISTS (
            SELECT FROM favorites AS f
            WHERE f.customer_id = a.customer_id AND f.product_id = a.product_id
        )
        ORDER BY c.id FOR KEY SHARE OF c SKIP LOCKED
    );
    kept := ARRAY(
        SELECT l.customer_id FROM favorite_lists AS l WHERE l.customer_id = ANY (kept)
        ORDER BY l.customer_id FOR NO KEY UPDATE SKIP LOCKED
    );
    RETURN QUERY
    WITH asked AS (
        SELECT a.*
        FROM unnest(
            p_customer_ids, p_product_ids, p_favorited_at, p_titles, p_prices, p_images, p_rates,
            p_counts
        ) WITH ORDINALITY AS a (
            customer_id, product_id, favorited_at, title, price, image, rate, count, n
        )
        WHERE a.n = ANY (allowed)
    ), inserted AS (
        INSERT INTO favorites AS f (
            customer_id, product_id, favorited_at, snapshot_title, snapshot_price,
            snapshot_image, snapshot_rate, snapshot_rating_count, added_in, changed_in
        )
        SELECT a.customer_id, a.product_id, a.favorited_at, a.title, a.price, a.image, a.rate,
            a.count, l.version + 1, l.version + 1
        FROM asked AS a JOIN favorite_lists AS l ON l.customer_id = a.customer_id
        WHERE l.customer_id = ANY (kept) AND l.size < p_at_most
        ON CONFLICT (customer_id, product_id) DO NOTHING
        RETURNING f.customer_id, f.product_id, f.added_in
    ), forgotten AS (
        DELETE FROM favorite_tombstones AS t USING inserted AS i
        WHERE t.customer_id = i.customer_id AND t.product_id = i.product_id
    ), counted AS (
        UPDATE favorite_lists AS l SET version = i.added_in, size = l.size + 1
        FROM inserted AS i WHERE l.customer_id = i.customer_id
    ), favored AS (
        INSERT INTO product_popularity AS p (product_id, favorites)
        SELECT i.product_id, count(*) FROM inserted AS i
        GROUP BY i.product_id ORDER BY i.product_id
        ON CONFLICT (product_id) DO UPDATE SET favorites = p.favorites + excluded.favorites
    )
    SELECT a.n, true, a.favorited_at, a.title, a.price, a.image, a.rate, a.count
    FROM asked AS a JOIN inserted AS i ON i.customer_id = a.customer_id
    UNION ALL
    SELECT a.n, false, f.favorited_at, f.snapshot_title, f.snapshot_price, f.snapshot_image,
        f.snapshot_rate, f.snapshot_rating_count
    FROM asked AS a
    JOIN favorites AS f ON f.customer_id = a.customer_id AND f.product_id = a.product_id
    WHERE f.rejected_at IS NULL;
END
$$
"""

_DOWN = """
DROP FUNCTION add_favorites(
    uuid[], uuid[], timestamptz, integer[], xid[], timestamptz[], text[], numeric[], text[],
    numeric[], bigint[], integer
)
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
