from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.job import Job, ValidateProduct
from app.domain.product import ProductId
from app.domain.repository import Additions, Lookups, SignIns, UnitOfWorkFactory
from app.infra.postgres.lookup.additions import PostgresAdditions
from app.infra.postgres.lookup.lookups import PostgresLookups
from app.infra.postgres.lookup.sign_ins import PostgresSignIns
from app.infra.postgres.row_cache import Copies
from app.infra.postgres.statement_pool import Lanes
from tests.database import PATIENT, postgres_lanes
from tests.double.additions import UnitAdditions
from tests.double.lookups import UnitLookups
from tests.double.sign_ins import UnitSignIns
from tests.double.storage import InMemoryStorage


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def uow(request: pytest.FixtureRequest) -> UnitOfWorkFactory:
    """Storage, once in memory and once for real: both must keep the same promises."""
    if request.param == "memory":
        return InMemoryStorage()
    postgres: UnitOfWorkFactory = request.getfixturevalue("postgres_uow")
    return postgres


@pytest_asyncio.fixture
async def lanes(
    uow: UnitOfWorkFactory, request: pytest.FixtureRequest
) -> AsyncGenerator[Lanes | None]:
    """Lanes on the storage; none lead into memory."""
    if isinstance(uow, InMemoryStorage):
        yield None
        return
    async with postgres_lanes(request.getfixturevalue("database_url")) as lanes:
        yield lanes


@pytest.fixture
def copies(lanes: Lanes | None) -> Copies | None:
    """What those who share lanes remember."""
    return None if lanes is None else Copies(lanes.fetch)


@pytest_asyncio.fixture
async def lookups(
    uow: UnitOfWorkFactory, lanes: Lanes | None, copies: Copies | None
) -> AsyncGenerator[Lookups]:
    """The lookups that go with the storage."""
    if lanes is None or copies is None:
        yield UnitLookups(uow)
        return
    lookups = PostgresLookups(lanes, copies, patience=PATIENT)
    yield lookups
    await lookups.aclose()


@pytest_asyncio.fixture
async def additions(
    uow: UnitOfWorkFactory, lanes: Lanes | None, copies: Copies | None
) -> AsyncGenerator[Additions]:
    """The additions that go with the storage, and with its lookups."""
    if lanes is None or copies is None:
        yield UnitAdditions(uow)
        return
    additions = PostgresAdditions(lanes, copies, patience=PATIENT)
    yield additions
    await additions.aclose()


@pytest.fixture
def sign_ins(uow: UnitOfWorkFactory, lanes: Lanes | None) -> SignIns:
    """The sign-ins that go with the storage."""
    if lanes is None:
        return UnitSignIns(uow)
    return PostgresSignIns(lanes, patience=PATIENT)


@pytest.fixture
def waiting_jobs(
    uow: UnitOfWorkFactory, request: pytest.FixtureRequest
) -> Callable[[], Awaitable[Sequence[Job]]]:
    """Tell which jobs wait, in the order in which they were asked for."""
    if isinstance(uow, InMemoryStorage):
        return partial(_in_memory, uow)
    return partial(_on_postgres, request.getfixturevalue("postgres_engine"))


async def _in_memory(storage: InMemoryStorage) -> Sequence[Job]:
    return storage.jobs


async def _on_postgres(engine: AsyncEngine) -> Sequence[Job]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""
                SELECT CAST(args ->> 'product_id' AS integer)
                FROM procrastinate_jobs
                WHERE status = 'todo' AND task_name = 'validate_product'
                ORDER BY id
            """)
        )
        return [ValidateProduct(product_id=ProductId(product_id)) for (product_id,) in rows]
