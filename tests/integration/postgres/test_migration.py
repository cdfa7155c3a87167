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
from tests.database import patient_engine

VERSIONS = Path(migrate.__file__).parent / "migration" / "versions"


def contents(url: str) -> set[tuple[str, str]]:
    """Return what is in a database: kinds and names of relations, functions and types."""
    with psycopg.connect(url) as connection:
        found = connection.execute("""
            SELECT 'relation', relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
            UNION SELECT 'function', oid::regprocedure::text FROM pg_proc
                WHERE pronamespace = 'public'::regnamespace
            UNION SELECT 'type', typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
        """)
        return {(kind, name) for kind, name in found if "alembic_version" not in name}


class TestMigrations:
    def test_go_up_and_down_and_up_again(self, new_database: Callable[..., str]) -> None:
        url = new_database()
        seen = [contents(url)]
        for revision in migrate.revisions():
            migrate.upgrade(url, revision)
            up = contents(url)
            assert up > seen[-1]
            migrate.downgrade(url, "-1")
            assert contents(url) == seen[-1]
            migrate.upgrade(url, revision)
            assert contents(url) == up
            seen.append(up)
        migrate.downgrade(url, "base")
        assert contents(url) == seen[0] == set()

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

    def test_say_that_nobody_is_there(self) -> None:
        with pytest.raises(StorageUnavailable):
            migrate.upgrade("postgresql://nobody@127.0.0.1:1/favorites_test")


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
            ("CREATE TABLE somebody_elses (id integer)", False),
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
