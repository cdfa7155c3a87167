import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from app.command_line.main import app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
NOWHERE = "postgresql://nobody:hunter2@127.0.0.1:1/nothing"


class CommandLine:
    """Run `python -m app` in a directory without `.env`."""

    def __init__(self, directory: Path, database_url: str | None = None) -> None:
        settings = {name.upper() for name in Settings.model_fields}
        self._directory = directory
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in settings},
            **({"DATABASE_URL": database_url} if database_url else {}),
            "PYTHONPATH": str(ROOT),
            # Warnings of Python are not part of the output under test.
            "PYTHONWARNINGS": "ignore",
        }

    def __call__(
        self, *arguments: str, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # noqa: S603 - this program
            [sys.executable, "-m", "app", *arguments],
            cwd=self._directory,
            env={**self._environment, **environment},
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def bare(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def command(tmp_path: Path, database_url: str) -> CommandLine:
    return CommandLine(tmp_path, database_url)


@pytest.mark.parametrize(
    "command", ["serve", "migrate", "worker", "create-admin", "api-key create", "jobs retry"]
)
def test_help_has_examples(command: str) -> None:
    done = CliRunner().invoke(
        app, [*command.split(), "--help"], prog_name="python -m app", env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0
    assert done.output.count(f"python -m app {command}") > 1


def test_a_server_defers_what_it_does_not_need_at_its_start() -> None:
    program = """if True:
        import app.__main__, sys
        print("rich.console" in sys.modules)
        from fastapi.openapi.models import OpenAPI
        from app.infra.http.router.favorite_schema import FavoriteOut
        print(OpenAPI.__pydantic_complete__, FavoriteOut.__pydantic_complete__)
        print(OpenAPI(info={"title": "", "version": ""}, openapi="3.1.0").openapi)
    """
    loaded = subprocess.run(  # noqa: S603 - this program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, timeout=120
    )
    assert loaded.stdout.splitlines() == [b"False", b"False True", b"3.1.0"]


class TestFailure:
    def test_of_settings_prints_one_message(self, bare: CommandLine) -> None:
        done = bare("serve", PORT="http", WORKERS="0", JWT_KEYS="hunter2")
        assert done.returncode == 2
        assert done.stdout == b""
        lines = done.stderr.decode().splitlines()
        assert [line.partition(":")[0] for line in lines] == ["PORT", "WORKERS", "JWT_KEYS"]
        assert b"hunter2" not in done.stderr

    def test_for_lack_of_a_database_url_suggests_a_solution(self, bare: CommandLine) -> None:
        done = bare("serve")
        assert done.returncode == 2
        (line,) = done.stderr.decode().splitlines()
        assert "development/start" in line

    @pytest.mark.parametrize(
        "arguments", [("migrate",), ("api-key", "list"), ("jobs", "list", "--status", "all")]
    )
    def test_of_the_database_prints_one_line(
        self, tmp_path: Path, arguments: tuple[str, ...]
    ) -> None:
        done = CommandLine(tmp_path, NOWHERE)(*arguments)
        assert done.returncode == 1
        assert done.stderr == b"The database cannot be reached at the moment\n"

    def test_of_the_schema_prints_one_line(self, tmp_path: Path, empty_database_url: str) -> None:
        done = CommandLine(tmp_path, empty_database_url)("api-key", "list")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1

    def test_of_the_arguments_prints_no_traceback(self, bare: CommandLine) -> None:
        done = bare("api-key", "create", "crm", "--scope", "everything")
        assert done.returncode == 2
        assert b"customers:read" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.fixture
def empty_database_url(request: pytest.FixtureRequest) -> str:
    url = request.getfixturevalue("new_database")()
    assert isinstance(url, str)
    return url


class TestMigrate:
    def test_may_be_repeated(self, tmp_path: Path, empty_database_url: str) -> None:
        command = CommandLine(tmp_path, empty_database_url)
        assert [command("migrate").returncode for _ in range(2)] == [0, 0]
        assert command("api-key", "list").returncode == 0


@pytest.mark.usefixtures("postgres_engine")  # empties the database afterwards
class TestApiKey:
    def test_is_shown_once_and_can_be_revoked_once(self, command: CommandLine) -> None:
        made = command(
            *("api-key", "create", "crm [b]", "--scope", "customers:read"),
            *("--scope", "favorites:read", "--expires-in-days", "7"),
        )
        assert made.returncode == 0
        _, key_id, secret = made.stdout.decode().strip().split("_")
        listed = command("api-key", "list").stdout.decode()
        (row,) = (line for line in listed.splitlines() if line.startswith(key_id))
        assert "crm [b]" in row
        assert "customers:read, favorites:read" in row
        assert row.rstrip().endswith("usable")
        assert secret not in listed
        assert command("api-key", "revoke", key_id).returncode == 0
        assert "revoked" in command("api-key", "list").stdout.decode()
        assert command("api-key", "revoke", key_id).returncode == 1


@pytest.mark.usefixtures("postgres_engine")  # empties the database afterwards
class TestCreateAdmin:
    ANA = ("create-admin", "--name", "Ana", "--email", "ana@example.com", "--password-stdin")

    def test_refuses_an_existing_address(self, command: CommandLine) -> None:
        assert command(*self.ANA, stdin="caju e maracujá\n".encode()).returncode == 0
        again = command(*self.ANA, stdin="caju e maracujá\n".encode())
        assert again.returncode == 1
        assert again.stderr == b"The e-mail address belongs to an account already\n"

    @pytest.mark.parametrize("password", [b"short\n", b"", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\n"])
    def test_refuses_a_bad_password(self, command: CommandLine, password: bytes) -> None:
        done = command(*self.ANA, stdin=password)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1

    def test_needs_a_terminal_to_prompt_for_the_password(self, command: CommandLine) -> None:
        done = command(*self.ANA[:-1])
        assert done.returncode == 2
        assert b"--password-stdin" in done.stderr


class TestJobs:
    def test_that_do_not_exist_cannot_be_retried(self, command: CommandLine) -> None:
        assert command("jobs", "list").returncode == 0
        done = command("jobs", "retry", "999999")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1

    @pytest.mark.usefixtures("postgres_engine")  # empties the database afterwards
    def test_report_how_many_were_superseded(
        self, command: CommandLine, database_url: str
    ) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("""
                INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, status)
                SELECT 'catalog', 'validate_product', 'validate_product:' || product, 'failed'
                FROM unnest(ARRAY[1, 1, 2]) AS product
            """)
        done = command("jobs", "retry", "--all")
        assert done.returncode == 0
        assert done.stdout.decode().splitlines() == [
            "Queued again: 2",
            "Removed, because an equal job is already waiting: 1",
        ]
        assert command("jobs", "retry", "--all").stdout == b"Queued again: 0\n"
