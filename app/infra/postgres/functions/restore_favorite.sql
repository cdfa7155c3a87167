-- Bring back a favorite as it was, if it was removed since a moment. Return the outcome, one of
-- RestoreOutcome. A favorite that waits for the catalog gets a job again; enqueued tells whether
-- none was queued already.
CREATE OR REPLACE FUNCTION restore_favorite(
    p_customer_id uuid, p_product_id integer, p_removed_since timestamptz, p_total integer,
    p_traceparent text
) RETURNS TABLE (outcome text, enqueued boolean) LANGUAGE plpgsql AS $$
DECLARE
    list favorite_lists;
    removed favorite_tombstones;
BEGIN
    IF lock_favorite_lists(ARRAY[p_customer_id], true) = '{}' THEN
        RETURN QUERY SELECT 'no_customer', NULL::boolean;
        RETURN;
    END IF;
    -- New statements: they see what was committed before the list was locked.
    IF EXISTS (
        SELECT FROM favorites AS f
        WHERE f.customer_id = p_customer_id AND f.product_id = p_product_id
    ) THEN
        RETURN QUERY SELECT 'present', NULL::boolean;
        RETURN;
    END IF;
    SELECT t.* INTO removed FROM favorite_tombstones AS t
    WHERE t.customer_id = p_customer_id AND t.product_id = p_product_id
        AND t.removed_at >= p_removed_since AND t.favorited_at IS NOT NULL;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'not_restorable', NULL::boolean;
        RETURN;
    END IF;
    SELECT l.* INTO list FROM favorite_lists AS l WHERE l.customer_id = p_customer_id;
    IF list_is_full(list.size, p_total) THEN
        RETURN QUERY SELECT 'full', NULL::boolean;
        RETURN;
    END IF;
    DELETE FROM favorite_tombstones AS t
    WHERE t.customer_id = p_customer_id AND t.product_id = p_product_id;
    INSERT INTO favorites (
        customer_id, product_id, favorited_at, snapshot_title, snapshot_price, snapshot_image,
        snapshot_rate, snapshot_rating_count, rejected_at, added_in, changed_in
    ) VALUES (
        p_customer_id, p_product_id, removed.favorited_at, removed.snapshot_title,
        removed.snapshot_price, removed.snapshot_image, removed.snapshot_rate,
        removed.snapshot_rating_count, removed.rejected_at, list.version + 1, list.version + 1
    );
    UPDATE favorite_lists AS l SET version = l.version + 1, size = l.size + 1
    WHERE l.customer_id = p_customer_id;
    INSERT INTO product_popularity AS p (product_id, favorites) VALUES (p_product_id, 1)
    ON CONFLICT ON CONSTRAINT pk_product_popularity DO UPDATE SET favorites = p.favorites + 1;
    RETURN QUERY
    SELECT 'restored', CASE
        WHEN favorite_is_pending(removed.snapshot_title, removed.rejected_at)
        THEN enqueue_validate_product(p_product_id, p_traceparent)
    END;
END
$$
