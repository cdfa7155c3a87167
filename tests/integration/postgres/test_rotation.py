"""The password of the database is replaced as docs/operations.md says, while the service runs."""

import asyncio
import re
from collections.abc import Generator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from app.domain.outcome import StorageUnavailable
from app.infra.dependency import Readiness, wire
from app.infra.postgres.migrate import upgrade
from development.postgres import EmbeddedPostgres
from tests.integration.service.harness import settings_of
from tests.integration.service.people import PASSWORD

ROOT = Path(__file__).parents[3]
DATABASE = "favorites_test"

pytestmark = pytest.mark.postgres


def second_role() -> str:
    """Return the documented way to the second role."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"<!-- rotation: second-role -->\n```sql\n(.*?)```", text, re.DOTALL)
    return str(found)


@pytest.fixture
def server() -> Generator[EmbeddedPostgres]:
    """Return a server on which the role `favorites` owns the service's tables."""
    with EmbeddedPostgres.temporary() as server:
        server.create_database(DATABASE)
        run(server, "CREATE ROLE favorites LOGIN PASSWORD 'first'")
        run(server, f"ALTER DATABASE {DATABASE} OWNER TO favorites")
        upgrade(url_of(server, "favorites", "first"))
        yield server


def run(server: EmbeddedPostgres, statement: str) -> None:
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        connection.execute(statement.encode())


def url_of(server: EmbeddedPostgres, role: str, password: str) -> str:
    parts = urlsplit(server.url(DATABASE))
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@127.0.0.1:{server.port}"))


async def use(url: str, email: str) -> None:
    """Read and write as the service does."""
    readiness = Readiness()
    async with wire(settings_of(url), readiness=readiness) as use_cases:
        await readiness()
        await use_cases.sign_up(
            name="Inês Conceição", email=email, password=PASSWORD, ip="127.0.0.1"
        )


def test_two_roles_use_the_service_side_by_side(server: EmbeddedPostgres) -> None:
    run(server, second_role())
    (password,) = re.findall("PASSWORD '(.*?)'", second_role())
    second = url_of(server, "favorites_2", password)
    for number, url in enumerate((url_of(server, "favorites", "first"), second)):
        asyncio.run(use(url, f"ines-{number}@example.com"))
    # Whatever the next migration changes belongs to the owner, whoever runs it.
    upgrade(second)


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
