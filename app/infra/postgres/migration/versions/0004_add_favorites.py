"""
A function that adds favorites of many customers by one statement.

Only an addition, so that the release before keeps working.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

# Each statement of a function has its own snapshot, so what is read after the locks were taken
# cannot change any more. A customer that another transaction has locked is left out: the favorites
# of one customer do not wait for the lock of another one.
_UP = """
CREATE FUNCTION add_favorites(
    p_customer_ids uuid[], p_product_ids integer[], p_favorited_at timestamptz[],
    p_titles text[], p_prices numeric[], p_images text[], p_rates numeric[], p_counts bigint[],
    p_at_most integer
) RETURNS TABLE (n bigint, added boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    kept uuid[];
BEGIN
    kept := ARRAY(
        SELECT c.id FROM customers AS c WHERE c.id = ANY (p_customer_ids)
        ORDER BY c.id FOR KEY SHARE SKIP LOCKED
    );
    kept := ARRAY(
        SELECT l.customer_id FROM favorite_lists AS l WHERE l.customer_id = ANY (kept)
        ORDER BY l.customer_id FOR NO KEY UPDATE SKIP LOCKED
    );
    RETURN QUERY
    WITH asked AS (
        SELECT a.*, l.version + 1 AS next, l.size
        FROM unnest(
            p_customer_ids, p_product_ids, p_favorited_at, p_titles, p_prices, p_images, p_rates,
            p_counts
        ) WITH ORDINALITY AS a (
            customer_id, product_id, favorited_at, title, price, image, rate, count, n
        )
        JOIN favorite_lists AS l ON l.customer_id = a.customer_id
        WHERE a.customer_id = ANY (kept)
    ), present AS (
        SELECT a.n, f.rejected_at IS NULL AS stays
        FROM asked AS a
        JOIN favorites AS f ON f.customer_id = a.customer_id AND f.product_id = a.product_id
    ), inserted AS (
        INSERT INTO favorites AS f (
            customer_id, product_id, favorited_at, snapshot_title, snapshot_price,
            snapshot_image, snapshot_rate, snapshot_rating_count, added_in, changed_in
        )
        SELECT a.customer_id, a.product_id, a.favorited_at, a.title, a.price, a.image, a.rate,
            a.count, a.next, a.next
        FROM asked AS a
        WHERE a.size < p_at_most AND NOT EXISTS (SELECT FROM present AS p WHERE p.n = a.n)
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
    SELECT a.n, true FROM asked AS a JOIN inserted AS i ON i.customer_id = a.customer_id
    UNION ALL
    SELECT p.n, false FROM present AS p WHERE p.stays;
END
$$
"""

_DOWN = """
DROP FUNCTION add_favorites(
    uuid[], integer[], timestamptz[], text[], numeric[], text[], numeric[], bigint[], integer
)
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
