-- Enqueue the job that asks the catalog for a product; tell whether none was queued already.
--
-- At most one job of a queueing_lock is queued, and jobs of one lock run one after the other. The
-- argument traceparent is only there within a trace: all releases can run a job without it.
CREATE OR REPLACE FUNCTION enqueue_validate_product(
    p_product_id integer, p_traceparent text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    lock text := 'validate_product:' || p_product_id;
    violated text;
BEGIN
    PERFORM procrastinate_defer_jobs_v1(ARRAY[ROW(
        'catalog',
        'validate_product',
        0,
        lock,
        lock,
        jsonb_strip_nulls(
            jsonb_build_object('product_id', p_product_id, 'traceparent', p_traceparent)
        ),
        NULL
    )::procrastinate_job_to_defer_v1]);
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS violated = CONSTRAINT_NAME;
    IF violated <> 'procrastinate_jobs_queueing_lock_idx_v1' THEN
        RAISE;
    END IF;
    RETURN false;
END
$$
