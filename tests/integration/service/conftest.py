from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from app.domain.access import Scope
from app.infra.postgres.migrate import upgrade
from development.postgres import EmbeddedPostgres
from tests.integration.service.harness import Service, running_service
from tests.integration.service.people import People, Staff, employ

EVERY = frozenset(Scope)
SCOPE_SETS = {
    EVERY,
    *(frozenset({scope}) for scope in Scope),
    *(EVERY - {scope} for scope in Scope),
}


@pytest.fixture(scope="session")
def service(
    new_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Generator[Service]:
    """
    Return the service as it runs in production: two servers on one database.

    Tests share it; each has customers and products of its own.
    """
    directory: Path = tmp_path_factory.mktemp("service")
    with running_service(
        directory,
        new_database(migrated=True),
        servers=(1, 1),
        # It cannot be reached, but every attempt leaves its trace.
        SIGN_IN_LIMIT_EMAIL="100000/hour",
        # Crowds are answered, however busy the machine is.
        DATABASE_POOL_TIMEOUT="15",
        REFRESH_LEASE="20",
    ) as service:
        yield service


@pytest.fixture(scope="session")
def own_database() -> Generator[EmbeddedPostgres]:
    """
    Return a server of our own, wherever the other tests have theirs.

    It may be stopped, and its log holds every statement.
    """
    settings = {"log_statement": "all", "log_line_prefix": "[%a] ", "log_duration": "off"}
    with EmbeddedPostgres.temporary(settings) as server:
        server.create_database("favorites_test")
        upgrade(server.url("favorites_test"))
        yield server


@pytest.fixture(scope="session")
def own_service(
    own_database: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Service]:
    """Return the service on that server: two processes that look at each session each time."""
    with running_service(
        tmp_path_factory.mktemp("service"),
        own_database.url("favorites_test"),
        servers=(2,),
        # Of the 2.5 seconds within which a refusal is promised, half a second is left over by
        # default: too little on a machine that is busy with tests. Who waited twice is still late.
        DATABASE_POOL_TIMEOUT="1.5",
    ) as service:
        yield service


@pytest.fixture(scope="session")
def staff(service: Service) -> Staff:
    """Return the administrator and the API keys of the shared service."""
    return employ(service.database_url, SCOPE_SETS)


@pytest_asyncio.fixture
async def people(service: Service, staff: Staff) -> AsyncGenerator[People]:
    """Return what makes customers of the shared service."""
    async with People(service, staff) as people:
        yield people


@pytest.fixture(autouse=True)
def calm_store(request: pytest.FixtureRequest) -> Generator[None]:
    """Let the Fake Store behave again after each test."""
    yield
    if "service" in request.fixturenames:
        request.getfixturevalue("service").store.behave()
