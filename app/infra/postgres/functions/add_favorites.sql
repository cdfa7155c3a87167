-- Add favorites, also several of one customer, one after the other in the order of the arrays.
-- No favorite is asked for twice. Return the outcome of each, and the stored favorite if the
-- outcome is 'present'.
--
-- Outcomes are those of AddOutcome, in its order of precedence, and 'locked': another transaction
-- has changed the list or is changing it; the caller has to ask again. A product without
-- p_favorited_at is not listed by the catalog. A favorite without p_titles waits for the catalog
-- and gets a job; enqueued tells whether none was queued already. With p_dry_run the outcomes are
-- the same, but nothing is locked or written.
CREATE OR REPLACE FUNCTION add_favorites(
    p_customer_ids uuid[], p_session_ids uuid[], p_now timestamptz, p_product_ids integer[],
    p_versions xid[], p_favorited_at timestamptz[], p_titles text[], p_prices numeric[],
    p_images text[], p_rates numeric[], p_counts bigint[], p_traceparents text[],
    p_total integer, p_pending integer, p_wait boolean, p_dry_run boolean
) RETURNS TABLE (
    n bigint, outcome text, favorited_at timestamptz, snapshot_title text, snapshot_price numeric,
    snapshot_image text, snapshot_rate numeric, snapshot_rating_count bigint, enqueued boolean
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    refusals text[];
    locked uuid[];
    asked record;
    -- The list that the loop is at, with the favorites before.
    list uuid;
    list_version bigint;
    list_size bigint;
    list_pending bigint;
    -- Of each favorite that is added: the version of its list, and whether the list grows by it.
    -- All elements exist from the beginning, as an array begins with the first that is set.
    versions bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(p_customer_ids)]);
    growths boolean[] := array_fill(NULL::boolean, ARRAY[cardinality(p_customer_ids)]);
    added integer := 0;
    confirmed integer := 0;
BEGIN
    -- A lock is written to disk, so first leave out favorites that need none.
    refusals := ARRAY(
        SELECT CASE
            WHEN a.session_id IS NOT NULL AND s.id IS NULL THEN 'session_ended'
            WHEN f.customer_id IS NOT NULL THEN 'present'
            WHEN a.favorited_at IS NULL THEN 'no_product'
            WHEN a.version IS NOT NULL AND p.product_id IS NULL THEN 'product_changed'
        END
        FROM unnest(
            p_customer_ids, p_session_ids, p_product_ids, p_versions, p_favorited_at
        ) WITH ORDINALITY AS a (customer_id, session_id, product_id, version, favorited_at, n)
        -- Not EXISTS: for that the planner may hash the whole table.
        LEFT JOIN sessions AS s ON s.id = a.session_id AND s.customer_id = a.customer_id
            AND session_is_active(s.ended_at, s.idle_expires_at, s.expires_at, p_now)
        LEFT JOIN favorites AS f ON f.customer_id = a.customer_id
            AND f.product_id = a.product_id AND f.rejected_at IS NULL
        LEFT JOIN products_cache AS p ON p.product_id = a.product_id AND p.xmin = a.version
        ORDER BY a.n
    );
    IF p_dry_run THEN
        locked := ARRAY(SELECT c.id FROM customers AS c WHERE c.id = ANY (p_customer_ids));
    ELSIF array_remove(refusals, NULL) = '{}' THEN
        locked := lock_favorite_lists(p_customer_ids, p_wait);
    ELSE
        locked := lock_favorite_lists(
            ARRAY(
                SELECT a.customer_id
                FROM unnest(p_customer_ids, refusals) AS a (customer_id, refusal)
                WHERE a.refusal IS NULL
            ),
            p_wait
        );
    END IF;
    -- A new statement: it sees what was committed before the lists were locked.
    FOR asked IN
        SELECT a.n, a.customer_id, a.title IS NULL AS pending, coalesce(l.version, 0) AS version,
            coalesce(l.size, 0) AS size, f.customer_id IS NULL AS absent,
            f.rejected_at IS NOT NULL AS rejected
        FROM unnest(p_customer_ids, p_product_ids, p_titles, refusals) WITH ORDINALITY
            AS a (customer_id, product_id, title, refusal, n)
        LEFT JOIN favorite_lists AS l ON l.customer_id = a.customer_id
        LEFT JOIN favorites AS f ON f.customer_id = a.customer_id AND f.product_id = a.product_id
        WHERE a.refusal IS NULL AND a.customer_id = ANY (locked)
        ORDER BY a.customer_id, a.n
    LOOP
        IF asked.customer_id IS DISTINCT FROM list THEN
            list := asked.customer_id;
            list_version := asked.version;
            list_size := asked.size;
            list_pending := NULL;
        END IF;
        IF asked.pending AND list_pending IS NULL THEN
            list_pending := (
                SELECT count(*) FROM favorites AS f
                WHERE f.customer_id = list
                    AND favorite_is_pending(f.snapshot_title, f.rejected_at)
            );
        END IF;
        IF NOT asked.absent AND NOT asked.rejected THEN
            refusals[asked.n] := 'present';
        ELSIF asked.absent AND list_is_full(list_size, p_total) THEN
            refusals[asked.n] := 'full';
        ELSIF asked.pending AND list_pending >= p_pending THEN
            refusals[asked.n] := 'too_many_pending';
        ELSE
            list_version := list_version + 1;
            list_size := list_size + asked.absent::integer;
            list_pending := list_pending + asked.pending::integer;
            versions[asked.n] := list_version;
            growths[asked.n] := asked.absent;
            added := added + 1;
            IF NOT asked.pending THEN
                confirmed := confirmed + 1;
                n := asked.n;
                outcome := 'added';
                RETURN NEXT;
            END IF;
        END IF;
    END LOOP;
    IF added > 0 AND NOT p_dry_run THEN
        WITH added AS (
            SELECT *
            FROM unnest(
                p_customer_ids, p_product_ids, p_favorited_at, p_titles, p_prices, p_images,
                p_rates, p_counts, versions, growths
            ) AS a (
                customer_id, product_id, favorited_at, title, price, image, rate, count, version,
                growth
            )
            WHERE a.version IS NOT NULL
        ), written AS (
            -- A favorite that the catalog rejected is replaced; it is counted already.
            INSERT INTO favorites AS f (
                customer_id, product_id, favorited_at, snapshot_title, snapshot_price,
                snapshot_image, snapshot_rate, snapshot_rating_count, added_in, changed_in
            )
            SELECT a.customer_id, a.product_id, a.favorited_at, a.title, a.price, a.image, a.rate,
                a.count, a.version, a.version
            FROM added AS a
            ON CONFLICT ON CONSTRAINT pk_favorites DO UPDATE SET
                favorited_at = excluded.favorited_at,
                snapshot_title = excluded.snapshot_title,
                snapshot_price = excluded.snapshot_price,
                snapshot_image = excluded.snapshot_image,
                snapshot_rate = excluded.snapshot_rate,
                snapshot_rating_count = excluded.snapshot_rating_count,
                rejected_at = NULL,
                added_in = excluded.added_in,
                changed_in = excluded.changed_in
            WHERE f.rejected_at IS NOT NULL
        ), forgotten AS (
            DELETE FROM favorite_tombstones AS t USING added AS a
            WHERE t.customer_id = a.customer_id AND t.product_id = a.product_id
        ), counted AS (
            UPDATE favorite_lists AS l SET version = a.version, size = l.size + a.growth
            FROM (
                SELECT customer_id, max(version) AS version,
                    count(*) FILTER (WHERE growth) AS growth
                FROM added GROUP BY customer_id
            ) AS a
            WHERE l.customer_id = a.customer_id
        )
        INSERT INTO product_popularity AS p (product_id, favorites)
        SELECT a.product_id, count(*) FROM added AS a
        WHERE a.growth GROUP BY a.product_id ORDER BY a.product_id
        ON CONFLICT ON CONSTRAINT pk_product_popularity
        DO UPDATE SET favorites = p.favorites + excluded.favorites;
    END IF;
    IF confirmed = cardinality(p_customer_ids) THEN
        RETURN;
    END IF;
    -- Jobs are locked after popularity, in the order of products.
    FOR asked IN
        SELECT a.n, a.product_id, a.traceparent
        FROM unnest(p_product_ids, p_titles, p_traceparents, versions) WITH ORDINALITY
            AS a (product_id, title, traceparent, version, n)
        WHERE a.version IS NOT NULL AND a.title IS NULL
        ORDER BY a.product_id
    LOOP
        n := asked.n;
        outcome := 'added';
        IF NOT p_dry_run THEN
            enqueued := enqueue_validate_product(asked.product_id, asked.traceparent);
        END IF;
        RETURN NEXT;
    END LOOP;
    RETURN QUERY
    SELECT a.n,
        CASE
            WHEN a.refusal = 'session_ended' THEN a.refusal
            WHEN NOT EXISTS (SELECT FROM customers AS c WHERE c.id = a.customer_id)
            THEN 'no_customer'
            -- Not locked, or removed since it was found present.
            WHEN a.refusal IS NULL OR (a.refusal = 'present' AND f.customer_id IS NULL)
            THEN 'locked'
            ELSE a.refusal
        END,
        f.favorited_at, f.snapshot_title, f.snapshot_price, f.snapshot_image, f.snapshot_rate,
        f.snapshot_rating_count, NULL::boolean
    FROM unnest(p_customer_ids, p_product_ids, refusals, versions) WITH ORDINALITY
        AS a (customer_id, product_id, refusal, version, n)
    LEFT JOIN favorites AS f ON a.refusal = 'present'
        AND f.customer_id = a.customer_id AND f.product_id = a.product_id
        AND f.rejected_at IS NULL
    WHERE a.version IS NULL;
END
$$
