"""The job queue: the schema of procrastinate 3.10, as it was released."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"

_SCHEMA = Path(__file__).with_name("0002_procrastinate_3_10.sql")

_DROP = """
DROP TABLE procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs,
    procrastinate_workers CASCADE;
DO $$
DECLARE
    dropped text;
BEGIN
    FOR dropped IN
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE proname LIKE 'procrastinate\\_%' AND pronamespace = current_schema()::regnamespace
    LOOP
        EXECUTE 'DROP FUNCTION ' || dropped || ' CASCADE';
    END LOOP;
END;
$$;
DROP TYPE procrastinate_job_to_defer_v1, procrastinate_job_event_type, procrastinate_job_status;
"""


def upgrade() -> None:
    _run(_SCHEMA.read_text(encoding="utf-8"))


def downgrade() -> None:
    _run(_DROP)


def _run(statements: str) -> None:
    """Run many statements at once, which asyncpg can only without preparing them."""
    op.get_bind().connection.run_async(lambda driver: driver.execute(statements))
