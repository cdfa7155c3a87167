-- Whether a list of this size has no room for another favorite. PostgreSQL inlines this expression.
CREATE OR REPLACE FUNCTION list_is_full(
    size bigint, total integer
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT size >= total
$$
