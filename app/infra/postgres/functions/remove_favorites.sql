-- Remove favorites, also several of one customer, and remember each as of p_removed_at. No
-- favorite is asked for twice. Return the outcome of each.
--
-- Outcomes are those of RemoveOutcome, and 'locked': another transaction is changing the list; the
-- caller has to ask again.
CREATE OR REPLACE FUNCTION remove_favorites(
    p_customer_ids uuid[], p_session_ids uuid[], p_now timestamptz, p_product_ids integer[],
    p_removed_at timestamptz[], p_wait boolean
) RETURNS TABLE (n bigint, outcome text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    refusals text[];
    locked uuid[];
BEGIN
    -- A lock is written to disk, so first leave out favorites that need none.
    refusals := ARRAY(
        SELECT CASE
            WHEN a.session_id IS NOT NULL AND s.id IS NULL THEN 'session_ended'
            WHEN f.customer_id IS NULL THEN 'absent'
        END
        FROM unnest(p_customer_ids, p_session_ids, p_product_ids) WITH ORDINALITY
            AS a (customer_id, session_id, product_id, n)
        LEFT JOIN sessions AS s ON s.id = a.session_id AND s.customer_id = a.customer_id
            AND session_is_active(s.ended_at, s.idle_expires_at, s.expires_at, p_now)
        LEFT JOIN favorites AS f ON f.customer_id = a.customer_id AND f.product_id = a.product_id
        ORDER BY a.n
    );
    locked := lock_favorite_lists(
        ARRAY(
            SELECT a.customer_id FROM unnest(p_customer_ids, refusals) AS a (customer_id, refusal)
            WHERE a.refusal IS NULL
        ),
        p_wait
    );
    -- A new statement: it sees what was committed before the lists were locked.
    RETURN QUERY
    WITH removed AS (
        DELETE FROM favorites AS f
        USING unnest(p_customer_ids, p_product_ids, p_removed_at, refusals) WITH ORDINALITY
            AS a (customer_id, product_id, removed_at, refusal, n)
        WHERE a.refusal IS NULL AND a.customer_id = ANY (locked)
            AND f.customer_id = a.customer_id AND f.product_id = a.product_id
        RETURNING a.n, a.removed_at, f.*
    ), numbered AS (
        SELECT r.*,
            l.version + row_number() OVER (PARTITION BY r.customer_id ORDER BY r.n) AS version
        FROM removed AS r JOIN favorite_lists AS l ON l.customer_id = r.customer_id
    ), remembered AS (
        INSERT INTO favorite_tombstones (
            customer_id, product_id, changed_in, removed_at, favorited_at, snapshot_title,
            snapshot_price, snapshot_image, snapshot_rate, snapshot_rating_count, rejected_at
        )
        SELECT r.customer_id, r.product_id, r.version, r.removed_at, r.favorited_at,
            r.snapshot_title, r.snapshot_price, r.snapshot_image, r.snapshot_rate,
            r.snapshot_rating_count, r.rejected_at
        FROM numbered AS r
        ON CONFLICT ON CONSTRAINT pk_favorite_tombstones DO UPDATE SET
            changed_in = excluded.changed_in,
            removed_at = excluded.removed_at,
            favorited_at = excluded.favorited_at,
            snapshot_title = excluded.snapshot_title,
            snapshot_price = excluded.snapshot_price,
            snapshot_image = excluded.snapshot_image,
            snapshot_rate = excluded.snapshot_rate,
            snapshot_rating_count = excluded.snapshot_rating_count,
            rejected_at = excluded.rejected_at
    ), counted AS (
        -- Not below zero, whatever a release before 0003 has not counted.
        UPDATE favorite_lists AS l
        SET version = r.version, size = greatest(l.size - r.removed, 0)
        FROM (
            SELECT customer_id, max(version) AS version, count(*) AS removed
            FROM numbered GROUP BY customer_id
        ) AS r
        WHERE l.customer_id = r.customer_id
    ), disfavored AS (
        UPDATE product_popularity AS p SET favorites = greatest(p.favorites - r.removed, 0)
        FROM (
            SELECT p.product_id, r.removed
            FROM (
                SELECT product_id, count(*) AS removed FROM removed GROUP BY product_id
            ) AS r
            JOIN product_popularity AS p ON p.product_id = r.product_id
            ORDER BY p.product_id
            FOR NO KEY UPDATE OF p
        ) AS r
        WHERE p.product_id = r.product_id
    )
    SELECT a.n,
        CASE
            WHEN r.n IS NOT NULL THEN 'removed'
            WHEN a.refusal = 'session_ended' THEN a.refusal
            WHEN NOT EXISTS (SELECT FROM customers AS c WHERE c.id = a.customer_id)
            THEN 'no_customer'
            WHEN a.refusal IS NULL AND a.customer_id <> ALL (locked) THEN 'locked'
            ELSE 'absent'
        END
    FROM unnest(p_customer_ids, refusals) WITH ORDINALITY AS a (customer_id, refusal, n)
    LEFT JOIN removed AS r ON r.n = a.n;
END
$$
