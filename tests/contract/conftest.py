from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeAlias

import pytest
import pytest_asyncio

from app.domain.product import ProductId
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import FavoriteWrites, SignInWrites
from app.infra.postgres.favorite_writes import PostgresFavoriteWrites
from app.infra.postgres.queries import PostgresQueries
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.sign_in_writes import PostgresSignInWrites
from app.infra.postgres.statement_pool import StatementPool
from tests.database import PATIENT, postgres_pool
from tests.double.favorite_writes import InMemoryFavoriteWrites
from tests.double.queries import InMemoryQueries
from tests.double.sign_in_writes import InMemorySignInWrites
from tests.double.storage import InMemoryStorage

WaitingJobs: TypeAlias = Callable[[], Awaitable[Sequence[ProductId]]]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def uow(request: pytest.FixtureRequest) -> UnitOfWorkFactory:
    """Storage, once in memory and once for real: both must keep the same promises."""
    if request.param == "memory":
        return InMemoryStorage()
    postgres: UnitOfWorkFactory = request.getfixturevalue("postgres_uow")
    return postgres


@pytest_asyncio.fixture
async def pool(
    uow: UnitOfWorkFactory, request: pytest.FixtureRequest
) -> AsyncGenerator[StatementPool | None]:
    """Return a statement pool on the storage; None in memory."""
    if isinstance(uow, InMemoryStorage):
        yield None
        return
    async with postgres_pool(request.getfixturevalue("database_url")) as pool:
        yield pool


@pytest.fixture
def row_cache(pool: StatementPool | None) -> ProductRowCache | None:
    """Return the products that queries and writes of the pool share."""
    return None if pool is None else ProductRowCache(pool.fetch)


@pytest_asyncio.fixture
async def queries(
    uow: UnitOfWorkFactory, pool: StatementPool | None, row_cache: ProductRowCache | None
) -> AsyncGenerator[Queries]:
    """Return the queries of the storage."""
    if isinstance(uow, InMemoryStorage):
        yield InMemoryQueries(uow)
        return
    assert pool is not None
    assert row_cache is not None
    queries = PostgresQueries(pool, row_cache, patience=PATIENT)
    yield queries
    await queries.aclose()


@pytest_asyncio.fixture
async def favorite_writes(
    uow: UnitOfWorkFactory, pool: StatementPool | None, row_cache: ProductRowCache | None
) -> AsyncGenerator[FavoriteWrites]:
    """Return the writes to favorites of the storage, which share products with its queries."""
    if isinstance(uow, InMemoryStorage):
        yield InMemoryFavoriteWrites(uow)
        return
    assert pool is not None
    assert row_cache is not None
    writes = PostgresFavoriteWrites(pool, row_cache, patience=PATIENT)
    yield writes
    await writes.aclose()


@pytest.fixture
def sign_in_writes(uow: UnitOfWorkFactory, pool: StatementPool | None) -> SignInWrites:
    """Return the writes of signing in of the storage."""
    if isinstance(uow, InMemoryStorage):
        return InMemorySignInWrites(uow)
    assert pool is not None
    return PostgresSignInWrites(pool, patience=PATIENT)


@pytest.fixture
def waiting_jobs(uow: UnitOfWorkFactory, request: pytest.FixtureRequest) -> WaitingJobs:
    """Return what reads the products of queued jobs, first queued first."""
    if not isinstance(uow, InMemoryStorage):
        postgres: WaitingJobs = request.getfixturevalue("postgres_waiting_jobs")
        return postgres

    async def waiting() -> Sequence[ProductId]:
        return uow.jobs

    return waiting
