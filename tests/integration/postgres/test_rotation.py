"""The password of the database is replaced as documented while the service runs."""

import asyncio
import os
import re
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from app.domain.outcome import StorageUnavailable
from app.infra.dependency import Readiness, wire
from app.infra.postgres.migrate import upgrade
from development.postgres import EmbeddedPostgres
from tests.integration.service.harness import settings_of, until
from tests.integration.service.people import PASSWORD
from tests.pooler import Pooler, running_pooler

ROOT = Path(__file__).parents[3]
DATABASE = "favorites_test"

pytestmark = pytest.mark.postgres


def block(name: str) -> str:
    """Return the code block of the documentation under a mark."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- rotation: {name} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    return str(found)


def password_in(name: str) -> str:
    """Return the example password of the documentation under a mark."""
    (found,) = re.findall("PASSWORD '(.*?)'", block(name))
    return str(found)


@pytest.fixture
def server() -> Generator[EmbeddedPostgres]:
    """Return a server on which the role `favorites` owns the tables of the service."""
    with EmbeddedPostgres.temporary() as server:
        server.create_database(DATABASE)
        run(server, "CREATE ROLE favorites LOGIN PASSWORD 'first'")
        run(server, f"ALTER DATABASE {DATABASE} OWNER TO favorites")
        upgrade(url_of(server, "favorites", "first"))
        yield server


@pytest.fixture
def pooler(server: EmbeddedPostgres) -> Generator[Pooler]:
    """Return a pooler that only knows the role `favorites`."""
    # Not the directory of pytest, which only its owner may enter: the pooler reads files here.
    with tempfile.TemporaryDirectory(prefix="favorites-pooler-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with running_pooler(directory, url_of(server, "favorites", "first")) as pooler:
            yield pooler


def run(server: EmbeddedPostgres, statement: str) -> None:
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        connection.execute(statement.encode())


def url_of(server: EmbeddedPostgres, role: str, password: str) -> str:
    parts = urlsplit(server.url(DATABASE))
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@127.0.0.1:{server.port}"))


async def use(url: str, email: str, **settings: str) -> None:
    """Read and write as the service does."""
    readiness = Readiness()
    async with wire(settings_of(url, **settings), readiness=readiness) as use_cases:
        await readiness()
        await use_cases.sign_up(
            name="Inês Conceição", email=email, password=PASSWORD, ip="127.0.0.1"
        )


def test_two_roles_use_the_service_side_by_side(server: EmbeddedPostgres) -> None:
    run(server, block("second-role"))
    second = url_of(server, "favorites_2", password_in("second-role"))
    for number, url in enumerate((url_of(server, "favorites", "first"), second)):
        asyncio.run(use(url, f"ines-{number}@example.com"))
    # What a migration creates belongs to the owner, whichever role runs it.
    upgrade(second)


def test_both_roles_use_the_service_through_a_pooler(
    server: EmbeddedPostgres, pooler: Pooler
) -> None:
    emails = (f"ines-{number}@example.com" for number in count())

    def serve(url: str) -> None:
        asyncio.run(use(pooler.url(url), next(emails), database_transaction_pooler="true"))

    first = url_of(server, "favorites", "first")
    second = url_of(server, "favorites_2", password_in("second-role"))
    serve(first)
    run(server, block("second-role"))
    with pytest.raises(StorageUnavailable):
        serve(second)

    run_on_pooler(pooler, block("second-role-pooler"))
    wait_until_known(pooler.url(second))
    # While processes are replaced one after the other, both roles are in use.
    for url in (second, first):
        serve(url)

    run(server, block("first-role"))
    run_on_pooler(pooler, block("first-role-pooler"))
    again = url_of(server, "favorites", password_in("first-role"))
    wait_until_known(pooler.url(again))
    # The next rotation is the other way round.
    for url in (again, second):
        serve(url)


def run_on_pooler(pooler: Pooler, commands: str) -> None:
    """Run the commands that are documented for the machine of the pooler."""
    subprocess.run(  # noqa: S603 - our own documentation
        ["/bin/sh", "-eu", "-c", commands.replace("/etc/pgbouncer", str(pooler.users.parent))],
        env={"PATH": os.environ.get("PATH", os.defpath), "PGBOUNCER_PID": str(pooler.pid)},
        check=True,
    )


def wait_until_known(url: str) -> None:
    """Wait until the pooler has read its users again."""

    async def known() -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(url).close()
            return True
        return False

    asyncio.run(until(known, what="knowing the role"))


def test_a_wrong_password_is_an_outage_that_ends_by_itself(server: EmbeddedPostgres) -> None:
    url = url_of(server, "favorites", "first")

    async def through_it() -> None:
        readiness = Readiness()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(wire(settings_of(url), readiness=readiness))
            await readiness()
            run(server, "ALTER ROLE favorites PASSWORD 'second'")
            run(
                server,
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE usename = 'favorites'",
            )
            with pytest.raises(StorageUnavailable):
                await readiness()
            run(server, "ALTER ROLE favorites PASSWORD 'first'")
            await readiness()

    asyncio.run(through_it())
