import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from procrastinate.schema import SchemaManager
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.outcome import StorageUnavailable
from app.infra.postgres import migrate, schema
from tests import make
from tests.database import patient_engine

VERSIONS = Path(migrate.__file__).parent / "migration" / "versions"

# What a revision drops because no running release uses it.
DROPPED = {
    (
        "function",
        "add_favorites(uuid[],integer[],timestamp with time zone[],text[],numeric[],text[],"
        "numeric[],bigint[],integer)",
    )
}


def contents(url: str) -> set[tuple[str, str]]:
    """Return what is in a database: kinds and names of relations, functions and types."""
    with psycopg.connect(url) as connection:
        found = connection.execute("""
            SELECT 'relation', relname::text FROM pg_class
                WHERE relnamespace = 'public'::regnamespace
            UNION SELECT 'function', oid::regprocedure::text FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace
            UNION SELECT 'type', typname::text FROM pg_type
                WHERE typnamespace = 'public'::regnamespace
        """)
        return {(kind, name) for kind, name in found if "alembic_version" not in name}


class TestMigrations:
    def test_go_up_and_down_and_up_again(self, new_database: Callable[..., str]) -> None:
        url = new_database()
        seen = [contents(url)]
        for revision in migrate.revisions():
            migrate.upgrade(url, revision)
            up = contents(url)
            assert up > seen[-1] - DROPPED
            migrate.downgrade(url, "-1")
            assert contents(url) == seen[-1]
            migrate.upgrade(url, revision)
            assert contents(url) == up
            seen.append(up)
        migrate.downgrade(url, "base")
        assert contents(url) == seen[0] == set()

    def test_keep_the_functions_that_the_release_before_calls(
        self, new_database: Callable[..., str]
    ) -> None:
        url, customer_id = new_database(migrated=True), make.uuid()
        product_ids = [make.product_id() for _ in range(2)]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                """
                INSERT INTO customers (
                    id, name, name_key, email, email_key, role, created_at, updated_at, version
                ) VALUES (%s, 'Ana', 'ana', 'a@b', 'a@b', 'customer', now(), now(), 1)
                """,
                [customer_id],
            )
            connection.execute(
                "INSERT INTO favorite_lists (customer_id) VALUES (%s)", [customer_id]
            )
            for product_id in (*product_ids, product_ids[0]):
                added = connection.execute(
                    """
                    SELECT n, added FROM add_favorites(
                        ARRAY[%s]::uuid[], ARRAY[NULL]::uuid[], NULL, ARRAY[%s]::integer[],
                        ARRAY[NULL]::xid[], ARRAY[now()], ARRAY['A ring'], ARRAY[9.99],
                        ARRAY['ring.jpg'], ARRAY[NULL]::numeric[], ARRAY[NULL]::bigint[], 5
                    )
                    """,
                    [customer_id, product_id],
                ).fetchall()
                assert len(added) == 1
            assert added == [(1, False)]
            stored = connection.execute("SELECT version, size FROM favorite_lists").fetchall()
            assert stored == [(2, 2)]

    async def test_make_exactly_the_tables_of_the_code(self, postgres_engine: AsyncEngine) -> None:
        def difference(connection: Connection) -> list[object]:
            context = MigrationContext.configure(
                connection, opts={"include_name": migrate.is_ours, "compare_server_default": True}
            )
            return list(compare_metadata(context, migrate.METADATA))

        async with postgres_engine.connect() as connection:
            assert await connection.run_sync(difference) == []

    def test_hold_the_schema_of_the_installed_procrastinate(self) -> None:
        """Otherwise an upgrade of the package needs a revision with its migrations."""
        frozen = (VERSIONS / "0002_procrastinate_3_10.sql").read_text(encoding="utf-8")
        assert frozen == SchemaManager.get_schema()

    def test_run_one_after_the_other(self, new_database: Callable[..., str]) -> None:
        url = new_database()
        # Processes, as Alembic keeps its state in globals.
        program = "import sys, app.infra.postgres.migrate as m; m.upgrade(sys.argv[1])"
        command = [sys.executable, "-c", program, url]
        migrations = [subprocess.Popen(command) for _ in range(4)]  # noqa: S603 - our own program
        assert [migration.wait() for migration in migrations] == [0] * 4
        assert contents(url)

    def test_run_from_anywhere(
        self,
        new_database: Callable[..., str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        url = new_database()
        migrate.upgrade(url.replace("postgresql://", "postgresql+asyncpg://"))
        assert contents(url)

    def test_fail_with_storage_unavailable_if_no_server_answers(self) -> None:
        with pytest.raises(StorageUnavailable):
            migrate.upgrade("postgresql://user@127.0.0.1:1/favorites_test")


class TestSchemaAtHead:
    def test_knows_the_newest_revision(self) -> None:
        assert migrate.head() == schema.HEAD
        # Revisions are compared as they are numbered.
        assert list(migrate.revisions()) == sorted(migrate.revisions())

    async def test_is_so_once_all_is_migrated(self, postgres_engine: AsyncEngine) -> None:
        assert await schema.schema_at_head(postgres_engine)

    @pytest.mark.parametrize(
        ("stamp", "expected"),
        [
            ("CREATE TABLE of_another_program (id integer)", False),
            ("CREATE TABLE alembic_version (version_num text)", False),
            ("CREATE TABLE alembic_version AS SELECT text '0001' AS version_num", False),
            # A newer release has migrated already; the revision suits this one as well.
            ("CREATE TABLE alembic_version AS SELECT text '9999' AS version_num", True),
        ],
    )
    async def test_goes_by_what_this_code_knows(
        self, new_database: Callable[..., str], stamp: str, expected: bool
    ) -> None:
        url = new_database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(stamp.encode())
        engine = patient_engine(url)
        assert await schema.schema_at_head(engine) is expected
        await engine.dispose()
