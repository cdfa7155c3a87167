-- Lock the lists of these customers against other changes, and create those that are missing.
-- Return the customers that exist and whose lists are locked now.
--
-- Customers are locked before lists, so that they cannot be removed meanwhile; both in the order
-- of ids. Without p_wait, a lock that another transaction holds is skipped.
CREATE OR REPLACE FUNCTION lock_favorite_lists(
    p_customer_ids uuid[], p_wait boolean
) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    existing uuid[];
    locked uuid[];
BEGIN
    IF p_wait THEN
        existing := ARRAY(
            SELECT c.id FROM customers AS c WHERE c.id = ANY (p_customer_ids)
            ORDER BY c.id FOR KEY SHARE
        );
        IF EXISTS (
            SELECT FROM unnest(existing) AS customer_id
            WHERE customer_id NOT IN (
                SELECT l.customer_id FROM favorite_lists AS l WHERE l.customer_id = ANY (existing)
            )
        ) THEN
            -- New and existing lists in one statement, and so in one order. A new list has no
            -- earlier changes of the catalog to enter into its history.
            INSERT INTO favorite_lists AS l (customer_id, catalog_seen)
            SELECT
                customer_id, coalesce((SELECT s.content_version FROM catalog_state AS s), 0)
            FROM unnest(existing) AS customer_id
            ORDER BY customer_id
            ON CONFLICT ON CONSTRAINT pk_favorite_lists DO UPDATE SET version = l.version;
        ELSE
            PERFORM FROM favorite_lists AS l WHERE l.customer_id = ANY (existing)
            ORDER BY l.customer_id FOR NO KEY UPDATE;
        END IF;
        RETURN existing;
    END IF;
    existing := ARRAY(
        SELECT c.id FROM customers AS c WHERE c.id = ANY (p_customer_ids)
        ORDER BY c.id FOR KEY SHARE SKIP LOCKED
    );
    locked := ARRAY(
        SELECT l.customer_id FROM favorite_lists AS l WHERE l.customer_id = ANY (existing)
        ORDER BY l.customer_id FOR NO KEY UPDATE SKIP LOCKED
    );
    IF cardinality(locked) < cardinality(existing) THEN
        -- Another transaction that creates one of these lists has locked its customer. FOR UPDATE
        -- skips that customer; otherwise the insertion would wait for the other transaction.
        WITH created AS (
            INSERT INTO favorite_lists (customer_id, catalog_seen)
            SELECT c.id, coalesce((SELECT s.content_version FROM catalog_state AS s), 0)
            FROM customers AS c
            WHERE c.id = ANY (existing)
                AND NOT EXISTS (SELECT FROM favorite_lists AS l WHERE l.customer_id = c.id)
            ORDER BY c.id
            FOR UPDATE OF c SKIP LOCKED
            ON CONFLICT ON CONSTRAINT pk_favorite_lists DO NOTHING
            RETURNING customer_id
        )
        SELECT locked || array_agg(created.customer_id) INTO locked FROM created;
    END IF;
    RETURN locked;
END
$$
