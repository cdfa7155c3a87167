"""The embedded PostgreSQL server."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # comes with the wheel, has no types
import psycopg
import pytest

from development.port import port_is_free
from development.postgres import EmbeddedPostgres, PostgresError, StopMode

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres.temporary() as server:
        server.create_database("favorites_test")
        with psycopg.connect(server.url("favorites_test")) as connection:
            connection.execute("CREATE TABLE kept (word text)")
        yield server


def insert(server: EmbeddedPostgres, word: str) -> None:
    with psycopg.connect(server.url("favorites_test")) as connection:
        connection.execute("INSERT INTO kept VALUES (%s)", [word])


def contains(server: EmbeddedPostgres, word: str) -> bool:
    with psycopg.connect(server.url("favorites_test")) as connection:
        return bool(connection.execute("SELECT FROM kept WHERE word = %s", [word]).rowcount)


class TestEmbeddedPostgres:
    def test_has_the_expected_major_version(self, server: EmbeddedPostgres) -> None:
        with psycopg.connect(server.url()) as connection:
            assert connection.info.server_version // 10_000 == 18

    def test_sorts_and_folds_the_same_everywhere(self, server: EmbeddedPostgres) -> None:
        with psycopg.connect(server.url("favorites_test")) as connection:
            row = connection.execute(
                "SELECT lower('AÇAÍ'), current_setting('server_encoding'),"
                " datlocprovider::text || datlocale FROM pg_database"
                " WHERE datname = current_database()"
            ).fetchone()
        assert row == ("açaí", "UTF8", "bC.UTF-8")

    def test_creates_a_database_once(self, server: EmbeddedPostgres) -> None:
        assert server.create_database("once")
        assert not server.create_database("once")
        server.drop_database("once")
        assert server.create_database("once")

    def test_requires_the_password(self, server: EmbeddedPostgres) -> None:
        without = f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(without)

    def test_does_not_run_as_root(self, server: EmbeddedPostgres) -> None:
        assert psutil.Process(server.pid).uids().effective != 0

    @pytest.mark.parametrize("mode", [StopMode.FAST, StopMode.IMMEDIATE])
    def test_keeps_commits(self, server: EmbeddedPostgres, mode: StopMode) -> None:
        port = server.port
        insert(server, mode.name)
        server.restart(mode)
        assert server.port == port
        assert contains(server, mode.name)

    def test_starts_after_being_killed(self, server: EmbeddedPostgres) -> None:
        insert(server, "killed")
        server.kill()
        assert server.pid is None
        server.start()
        assert contains(server, "killed")

    def test_stops(self, server: EmbeddedPostgres) -> None:
        server.stop()
        assert port_is_free(server.port)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url())
        server.start()

    def test_applies_settings(self, tmp_path: Path) -> None:
        with (
            EmbeddedPostgres(tmp_path, fsync=False, settings={"work_mem": "7MB"}) as server,
            psycopg.connect(server.url()) as connection,
        ):
            row = connection.execute("SELECT current_setting('work_mem')").fetchone()
        assert row == ("7MB",)

    def test_reports_why_it_does_not_start(self, tmp_path: Path) -> None:
        server = EmbeddedPostgres(tmp_path, fsync=False, settings={"no_such_setting": 1})
        with pytest.raises(PostgresError, match="no_such_setting"):
            server.start()
        assert server.pid is None

    def test_refuses_data_of_another_version(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        data.mkdir()
        (data / "PG_VERSION").write_text("16\n")
        with pytest.raises(PostgresError, match="made by PostgreSQL 16"):
            EmbeddedPostgres(tmp_path).start()

    def test_has_no_port_before_its_first_start(self, tmp_path: Path) -> None:
        with pytest.raises(PostgresError, match="not started"):
            EmbeddedPostgres(tmp_path).url()

    def test_keeps_its_files_from_others(self, tmp_path: Path) -> None:
        with EmbeddedPostgres(tmp_path, fsync=False):
            for name in ("data", "password"):
                mode = stat.S_IMODE((tmp_path / name).stat().st_mode)
                assert mode & 0o077 == 0

    def test_ignores_a_pid_file_that_names_another_program(self, tmp_path: Path) -> None:
        with EmbeddedPostgres(tmp_path, fsync=False):
            pass
        (tmp_path / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
        with EmbeddedPostgres(tmp_path, fsync=False) as server:
            assert server.pid != os.getpid()


OWNER = """
import sys, time
from pathlib import Path
from development.postgres import EmbeddedPostgres
server = {server}
server.start()
print(server.pid, server.log.parent, flush=True)
time.sleep(600)
"""


def orphan(server: str) -> tuple[psutil.Process, Path]:
    """Start a server from another program, kill that program; return process and directory."""
    with subprocess.Popen(  # noqa: S603 - the program above
        [sys.executable, "-c", OWNER.format(server=server)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        pid, directory = owner.stdout.readline().split()
        process = psutil.Process(int(pid))
        owner.kill()
    return process, Path(directory)


class TestOrphan:
    def test_ends_with_its_owner(self) -> None:
        process, directory = orphan("EmbeddedPostgres.temporary()")
        psutil.wait_procs([process], timeout=20)
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        assert directory.name.startswith("favorites-postgres-")

    def test_is_replaced(self, tmp_path: Path) -> None:
        with EmbeddedPostgres(tmp_path, fsync=False) as first:
            pid = first.pid
            assert pid
            with EmbeddedPostgres(tmp_path, fsync=False) as second:
                assert second.pid != pid
            assert first.exit_status is not None
