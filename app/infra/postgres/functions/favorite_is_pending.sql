-- Whether the catalog has neither confirmed nor rejected a favorite. PostgreSQL inlines this
-- expression, and then finds that it is the condition of the partial indexes of favorites.
CREATE OR REPLACE FUNCTION favorite_is_pending(
    snapshot_title text, rejected_at timestamptz
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT snapshot_title IS NULL AND rejected_at IS NULL
$$
