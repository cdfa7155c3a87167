-- Remove favorites of a customer, then add some, in one transaction. Return the outcome of each;
-- without such a customer one row says so. The other parameters are those of add_favorites, and
-- outcomes are those of both functions. With p_dry_run nothing is removed.
CREATE OR REPLACE FUNCTION change_favorites(
    p_customer_id uuid, p_now timestamptz, p_remove integer[], p_add integer[],
    p_favorited_at timestamptz[], p_titles text[], p_prices numeric[], p_images text[],
    p_rates numeric[], p_counts bigint[], p_traceparents text[], p_total integer,
    p_pending integer, p_dry_run boolean
) RETURNS TABLE (product_id integer, outcome text, enqueued boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM customers AS c WHERE c.id = p_customer_id) THEN
        RETURN QUERY SELECT NULL::integer, 'no_customer', NULL::boolean;
        RETURN;
    END IF;
    IF NOT p_dry_run AND p_remove <> '{}' THEN
        PERFORM lock_favorite_lists(ARRAY[p_customer_id], true);
        -- Removing and adding lock popularity in the order of products, but one after the other.
        -- This locks it in one order for both, with the rows that adding would insert.
        INSERT INTO product_popularity AS p (product_id, favorites)
        SELECT a.product_id, 0
        FROM (
            SELECT unnest(p_remove)
            UNION
            SELECT a.product_id FROM unnest(p_add, p_favorited_at) AS a (product_id, favorited_at)
            WHERE a.favorited_at IS NOT NULL
        ) AS a (product_id)
        ORDER BY a.product_id
        ON CONFLICT ON CONSTRAINT pk_product_popularity DO UPDATE SET favorites = p.favorites;
        RETURN QUERY
        SELECT p_remove[r.n], r.outcome, NULL::boolean
        FROM remove_favorites(
            array_fill(p_customer_id, ARRAY[cardinality(p_remove)]),
            NULL,
            NULL,
            p_remove,
            array_fill(p_now, ARRAY[cardinality(p_remove)]),
            true
        ) AS r;
    END IF;
    RETURN QUERY
    SELECT p_add[a.n], a.outcome, a.enqueued
    FROM add_favorites(
        array_fill(p_customer_id, ARRAY[cardinality(p_add)]),
        NULL,
        NULL,
        p_add,
        NULL,
        p_favorited_at,
        p_titles,
        p_prices,
        p_images,
        p_rates,
        p_counts,
        p_traceparents,
        p_total,
        p_pending,
        true,
        p_dry_run
    ) AS a;
END
$$
