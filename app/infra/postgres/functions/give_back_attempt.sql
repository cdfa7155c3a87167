-- Erase one attempt of a moment, of several only one.
CREATE OR REPLACE FUNCTION give_back_attempt(p_key bytea, p_at timestamptz) RETURNS void
LANGUAGE sql AS $$
    UPDATE throttles
    SET attempts = attempts[1 : array_position(attempts, p_at) - 1]
                || attempts[array_position(attempts, p_at) + 1 :]
    WHERE key = p_key AND p_at = ANY (attempts)
$$
