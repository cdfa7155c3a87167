"""Every method promises that a database which cannot be reached is an outcome."""

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import get_type_hints

import pytest
import pytest_asyncio

from app.domain.access import ApiKeyId
from app.domain.customer import CustomerId
from app.domain.outcome import StorageUnavailable
from app.domain.product import ProductId
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from app.domain.session import SessionId
from app.domain.throttle import Attempt, ThrottleRule
from app.domain.writes import FavoriteWrites, SignInWrites
from app.infra.postgres.engine import connector, create_engine, sessions_of
from app.infra.postgres.favorite_writes import PostgresFavoriteWrites
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.sign_in_writes import PostgresSignInWrites
from app.infra.postgres.statement_pool import StatementPool
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests import make
from tests.database import PATIENT
from tests.double.favorite_writes import InMemoryFavoriteWrites
from tests.double.sign_in_writes import InMemorySignInWrites
from tests.double.storage import InMemoryStorage
from tests.make import HOUR, LIMITS, NOW, PASSWORD_HASH, SECOND

OWNER = CustomerId(make.uuid())
SESSION = SessionId(make.uuid())
PRODUCT = ProductId(5)
KEY = ApiKeyId("key")
TOKEN = make.refresh_token(session_id=SESSION)
THROTTLE = make.throttle_key()
RULE = ThrottleRule(limit=1, window=SECOND)

METHODS: dict[str, Callable[[UnitOfWork], Awaitable[object]]] = {
    "customers.add": lambda w: w.customers.add(make.customer()),
    "customers.save": lambda w: w.customers.save(make.customer()),
    "customers.get": lambda w: w.customers.get(OWNER),
    "customers.lock": lambda w: w.customers.lock(OWNER),
    "customers.remove": lambda w: w.customers.remove(OWNER),
    "sessions.get": lambda w: w.sessions.get(SESSION),
    "sessions.save": lambda w: w.sessions.save(make.session()),
    "sessions.lock_family": lambda w: w.sessions.lock_family(TOKEN.hash),
    "sessions.add_token": lambda w: w.sessions.add_token(TOKEN),
    "sessions.save_token": lambda w: w.sessions.save_token(TOKEN),
    "sessions.end_all": lambda w: w.sessions.end_all(OWNER, now=NOW),
    "sessions.purge": lambda w: w.sessions.purge(before=NOW),
    "api_keys.add": lambda w: w.api_keys.add(make.api_key()),
    "api_keys.revoke": lambda w: w.api_keys.revoke(KEY, now=NOW),
    "api_keys.touch": lambda w: w.api_keys.touch(KEY, now=NOW, granularity=HOUR),
    "favorites.confirm": lambda w: w.favorites.confirm(PRODUCT, make.snapshot()),
    "favorites.reject": lambda w: w.favorites.reject(PRODUCT, now=NOW),
    "favorites.forget_removed": lambda w: w.favorites.forget_removed(
        restorable_since=NOW, since=NOW
    ),
    "popularity.reconcile": lambda w: w.popularity.reconcile(),
    "products.get": lambda w: w.products.get(PRODUCT),
    "products.acquire_lease": lambda w: w.products.acquire_lease(
        [PRODUCT], now=NOW, until=NOW + HOUR
    ),
    "products.block": lambda w: w.products.block([PRODUCT], until=NOW),
    "products.store": lambda w: w.products.store([make.product()], asked_at=NOW),
    "products.note_absence": lambda w: w.products.note_absence(PRODUCT, asked_at=NOW, until=NOW),
    "products.note_complete_list": lambda w: w.products.note_complete_list(
        [PRODUCT], asked_at=NOW
    ),
    "products.catalog_state": lambda w: w.products.catalog_state(),
    "products.acquire_catalog_lease": lambda w: w.products.acquire_catalog_lease(
        now=NOW, until=NOW + HOUR
    ),
    "products.block_catalog": lambda w: w.products.block_catalog(until=NOW),
    "products.purge_unknown": lambda w: w.products.purge_unknown(now=NOW),
    "throttles.take": lambda w: w.throttles.take(THROTTLE, RULE, now=NOW),
    "throttles.give_back": lambda w: w.throttles.give_back(Attempt(key=THROTTLE, at=NOW)),
    "throttles.forget": lambda w: w.throttles.forget(THROTTLE),
    "throttles.purge": lambda w: w.throttles.purge(before=NOW),
}

FAVORITE_WRITES: dict[str, Callable[[FavoriteWrites], Awaitable[object]]] = {
    "add": lambda w: w.add(make.favorite(), limits=LIMITS),
    "remove": lambda w: w.remove(OWNER, PRODUCT, now=NOW),
    "restore": lambda w: w.restore(OWNER, PRODUCT, removed_since=NOW, limits=LIMITS),
    "change": lambda w: w.change(OWNER, add={PRODUCT: None}, now=NOW, limits=LIMITS),
    "enter_catalog_changes": lambda w: w.enter_catalog_changes(OWNER),
}

SIGN_IN_WRITES: dict[str, Callable[[SignInWrites], Awaitable[object]]] = {
    "take_attempts": lambda w: w.take_attempts("ana@example.com", (THROTTLE, RULE), now=NOW),
    "begin_session": lambda w: w.begin_session(
        make.session(), TOKEN, password_hash=PASSWORD_HASH, attempts=()
    ),
}


@pytest.fixture(params=["memory", "postgres"])
def storage(request: pytest.FixtureRequest) -> InMemoryStorage | None:
    """Return storage in memory that is unavailable; None for PostgreSQL."""
    if request.param == "postgres":
        return None
    storage = InMemoryStorage()
    storage.available = False
    return storage


@pytest_asyncio.fixture
async def url() -> AsyncGenerator[str]:
    """Return the URL of a server that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        yield f"postgresql://user@127.0.0.1:{port}/none"


@pytest_asyncio.fixture
async def unreachable(
    storage: InMemoryStorage | None, url: str
) -> AsyncGenerator[UnitOfWorkFactory]:
    if storage is not None:
        yield storage
        return
    engine = create_engine(url, pool_size=1)
    yield partial(PostgresUnitOfWork, sessions_of(engine))
    await engine.dispose()


@pytest.fixture
def pool(url: str) -> StatementPool:
    return StatementPool(connector(url), size=1)


class TestUnreachableStorage:
    @pytest.mark.parametrize("method", list(METHODS))
    async def test_is_unavailable(self, unreachable: UnitOfWorkFactory, method: str) -> None:
        async with unreachable() as work:
            with pytest.raises(StorageUnavailable) as unavailable:
                await METHODS[method](work)
        assert unavailable.value.retry_after > 0 * SECOND

    @pytest.mark.parametrize("method", list(FAVORITE_WRITES))
    async def test_is_unavailable_for_writes_to_favorites(
        self, storage: InMemoryStorage | None, pool: StatementPool, method: str
    ) -> None:
        writes = (
            PostgresFavoriteWrites(pool, ProductRowCache(pool.fetch), patience=PATIENT)
            if storage is None
            else InMemoryFavoriteWrites(storage)
        )
        with pytest.raises(StorageUnavailable) as unavailable:
            await FAVORITE_WRITES[method](writes)
        assert unavailable.value.retry_after > 0 * SECOND

    @pytest.mark.parametrize("method", list(SIGN_IN_WRITES))
    async def test_is_unavailable_for_writes_of_signing_in(
        self, storage: InMemoryStorage | None, pool: StatementPool, method: str
    ) -> None:
        writes = (
            PostgresSignInWrites(pool, patience=PATIENT)
            if storage is None
            else InMemorySignInWrites(storage)
        )
        with pytest.raises(StorageUnavailable) as unavailable:
            await SIGN_IN_WRITES[method](writes)
        assert unavailable.value.retry_after > 0 * SECOND

    def test_is_so_for_every_method(self) -> None:
        promised = {
            f"{name}.{method}"
            for name, repository in get_type_hints(UnitOfWork).items()
            for method in repository.__abstractmethods__
        }
        assert set(METHODS) == promised
        assert set(FAVORITE_WRITES) == FavoriteWrites.__abstractmethods__
        assert set(SIGN_IN_WRITES) == SignInWrites.__abstractmethods__
