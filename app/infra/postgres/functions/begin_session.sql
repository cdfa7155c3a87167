-- Store a session with its first refresh token, and give back the attempts. Return the customer;
-- no row, and nothing is stored, if there is none with this password.
CREATE OR REPLACE FUNCTION begin_session(
    p_customer_id uuid, p_password_hash text,
    p_id uuid, p_device text, p_created_at timestamptz, p_last_used_at timestamptz,
    p_idle_expires_at timestamptz, p_expires_at timestamptz,
    p_token_hash bytea, p_issued_at timestamptz,
    p_keys bytea[], p_attempts timestamptz[]
) RETURNS SETOF customers LANGUAGE plpgsql AS $$
BEGIN
    -- Locked, so that a change of the password, which ends all sessions, does not miss this one.
    RETURN QUERY SELECT * FROM customers
        WHERE id = p_customer_id AND password_hash = p_password_hash FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO sessions (
        id, customer_id, device, created_at, last_used_at, idle_expires_at, expires_at
    ) VALUES (
        p_id, p_customer_id, p_device, p_created_at, p_last_used_at, p_idle_expires_at,
        p_expires_at
    );
    INSERT INTO refresh_tokens (hash, session_id, issued_at)
    VALUES (p_token_hash, p_id, p_issued_at);
    FOR i IN 1 .. cardinality(p_keys) LOOP
        PERFORM give_back_attempt(p_keys[i], p_attempts[i]);
    END LOOP;
END
$$
