"""
Functions for signing in, so that each of its two steps is one statement.

Only an addition, so that the release before keeps working.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

_TAKE = """
CREATE FUNCTION take_attempts(
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
"""

# One of several attempts at the same moment, not all of them.
_GIVE_BACK = """
CREATE FUNCTION give_back_attempt(p_key bytea, p_at timestamptz) RETURNS void
LANGUAGE sql AS $$
    UPDATE throttles
    SET attempts = attempts[1 : array_position(attempts, p_at) - 1]
                || attempts[array_position(attempts, p_at) + 1 :]
    WHERE key = p_key AND p_at = ANY (attempts)
$$
"""

_BEGIN = """
CREATE FUNCTION begin_session(
    p_customer_id uuid, p_password_hash text,
    p_id uuid, p_device text, p_created_at timestamptz, p_last_used_at timestamptz,
    p_idle_expires_at timestamptz, p_expires_at timestamptz,
    p_token_hash bytea, p_issued_at timestamptz,
    p_keys bytea[], p_attempts timestamptz[]
) RETURNS SETOF customers LANGUAGE plpgsql AS $$
BEGIN
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
"""

_DOWN = (
    """
    DROP FUNCTION begin_session(
        uuid, text, uuid, text, timestamptz, timestamptz, timestamptz, timestamptz, bytea,
        timestamptz, bytea[], timestamptz[]
    )
    """,
    "DROP FUNCTION take_attempts(bytea[], integer[], timestamptz[], timestamptz)",
    "DROP FUNCTION give_back_attempt(bytea, timestamptz)",
)


def upgrade() -> None:
    for statement in (_GIVE_BACK, _TAKE, _BEGIN):
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWN:
        op.execute(statement)
