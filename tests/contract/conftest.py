from collections.abc import Awaitable, Callable, Sequence

import pytest

from app.domain.job import Job
from app.domain.repository import UnitOfWorkFactory
from tests.double.storage import InMemoryStorage


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def uow(request: pytest.FixtureRequest) -> UnitOfWorkFactory:
    """Storage, once in memory and once for real: both must keep the same promises."""
    if request.param == "memory":
        return InMemoryStorage()
    postgres: UnitOfWorkFactory = request.getfixturevalue("postgres_uow")
    return postgres


@pytest.fixture
def waiting_jobs(
    uow: UnitOfWorkFactory, request: pytest.FixtureRequest
) -> Callable[[], Awaitable[Sequence[Job]]]:
    """Tell which jobs wait, in the order in which they were asked for."""
    if not isinstance(uow, InMemoryStorage):
        postgres: Callable[[], Awaitable[Sequence[Job]]] = request.getfixturevalue(
            "postgres_waiting_jobs"
        )
        return postgres
    storage = uow

    async def in_memory() -> Sequence[Job]:
        return storage.jobs

    return in_memory
