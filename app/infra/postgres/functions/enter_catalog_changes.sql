-- Enter what the catalog did to the favorites of a customer into the history of the list, as one
-- change of it.
CREATE OR REPLACE FUNCTION enter_catalog_changes(
    p_customer_id uuid
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_favorite_lists(ARRAY[p_customer_id], true);
    -- A new statement: it sees what was committed before the list was locked.
    WITH concerned AS (
        SELECT f.product_id
        FROM favorite_lists AS l
        JOIN favorites AS f ON f.customer_id = l.customer_id
        JOIN products_cache AS p
            ON p.product_id = f.product_id
            AND p.state_version > l.catalog_seen AND p.state_version > 0
        WHERE l.customer_id = p_customer_id
    ), counted AS (
        UPDATE favorite_lists AS l SET
            version = l.version + 1,
            catalog_seen = (SELECT s.content_version FROM catalog_state AS s)
        WHERE l.customer_id = p_customer_id AND EXISTS (SELECT FROM concerned)
        RETURNING l.version
    )
    UPDATE favorites AS f SET changed_in = counted.version
    FROM concerned, counted
    WHERE f.customer_id = p_customer_id AND f.product_id = concerned.product_id;
END
$$
