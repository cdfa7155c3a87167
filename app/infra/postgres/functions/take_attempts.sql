-- Count one attempt against each key, or against none if one of them refuses: then return how long
-- to wait. The arrays hold the key, the limit and the beginning of the window of each rule.
CREATE OR REPLACE FUNCTION take_attempts(
    p_keys bytea[], p_limits integer[], p_begins timestamptz[], p_now timestamptz
) RETURNS interval LANGUAGE plpgsql AS $$
DECLARE
    wait interval;
BEGIN
    FOR i IN 1 .. cardinality(p_keys) LOOP
        INSERT INTO throttles AS t (key, attempts)
        VALUES (p_keys[i], ARRAY[p_now])
        ON CONFLICT (key) DO UPDATE
        SET attempts = ARRAY(
            SELECT at FROM unnest(t.attempts || p_now) AS at WHERE at > p_begins[i] ORDER BY at
        )
        WHERE (
            SELECT count(*) FROM unnest(t.attempts) AS at WHERE at > p_begins[i]
        ) < p_limits[i];
        IF NOT FOUND THEN
            -- Refused or not, the row is locked: this is what was counted. There is room again
            -- when all but the limit less one have left the window.
            SELECT at - p_begins[i] INTO wait
            FROM throttles AS t, unnest(t.attempts) AS at
            WHERE t.key = p_keys[i] AND at > p_begins[i]
            ORDER BY at DESC OFFSET p_limits[i] - 1 LIMIT 1;
            FOR j IN 1 .. i - 1 LOOP
                PERFORM give_back_attempt(p_keys[j], p_now);
            END LOOP;
            RETURN wait;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
