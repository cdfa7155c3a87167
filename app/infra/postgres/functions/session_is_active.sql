-- Whether a session gives access at a moment. PostgreSQL inlines this expression.
CREATE OR REPLACE FUNCTION session_is_active(
    ended_at timestamptz, idle_expires_at timestamptz, expires_at timestamptz, at timestamptz
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ended_at IS NULL AND idle_expires_at > at AND expires_at > at
$$
