"""What every method promises: that a database which cannot be reached is an outcome."""

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import get_type_hints

import pytest
import pytest_asyncio

from app.domain.access import ApiKeyId
from app.domain.customer import CustomerId, CustomerQuery
from app.domain.favorite import ChangePosition, FavoriteQuery
from app.domain.job import ValidateProduct
from app.domain.outcome import StorageUnavailable
from app.domain.product import ProductId, ProductQuery
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from app.domain.session import SessionId
from app.domain.throttle import Attempt, ThrottleRule
from app.infra.postgres.engine import create_engine, sessions_of
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests import make
from tests.double.storage import InMemoryStorage
from tests.make import HOUR, NOW, SECOND

OWNER = CustomerId(make.uuid())
SESSION = SessionId(make.uuid())
PRODUCT = ProductId(5)
KEY = ApiKeyId("key")
TOKEN = make.refresh_token(session_id=SESSION)
THROTTLE = make.throttle_key()

METHODS: dict[str, Callable[[UnitOfWork], Awaitable[object]]] = {
    "customers.add": lambda w: w.customers.add(make.customer()),
    "customers.save": lambda w: w.customers.save(make.customer()),
    "customers.get": lambda w: w.customers.get(OWNER),
    "customers.lock": lambda w: w.customers.lock(OWNER),
    "customers.find_by_email": lambda w: w.customers.find_by_email("ana@example.com"),
    "customers.list_page": lambda w: w.customers.list_page(CustomerQuery()),
    "customers.remove": lambda w: w.customers.remove(OWNER),
    "sessions.add": lambda w: w.sessions.add(make.session(), TOKEN),
    "sessions.get": lambda w: w.sessions.get(SESSION),
    "sessions.save": lambda w: w.sessions.save(make.session()),
    "sessions.find_principal": lambda w: w.sessions.find_principal(SESSION, now=NOW),
    "sessions.lock_family": lambda w: w.sessions.lock_family(TOKEN.hash),
    "sessions.add_token": lambda w: w.sessions.add_token(TOKEN),
    "sessions.save_token": lambda w: w.sessions.save_token(TOKEN),
    "sessions.list_active": lambda w: w.sessions.list_active(OWNER, now=NOW),
    "sessions.list_all": lambda w: w.sessions.list_all(OWNER),
    "sessions.end_all": lambda w: w.sessions.end_all(OWNER, now=NOW),
    "sessions.purge": lambda w: w.sessions.purge(before=NOW),
    "api_keys.add": lambda w: w.api_keys.add(make.api_key()),
    "api_keys.get": lambda w: w.api_keys.get(KEY),
    "api_keys.list_all": lambda w: w.api_keys.list_all(),
    "api_keys.revoke": lambda w: w.api_keys.revoke(KEY, now=NOW),
    "api_keys.touch": lambda w: w.api_keys.touch(KEY, now=NOW, granularity=HOUR),
    "favorites.put": lambda w: w.favorites.put(make.favorite(), at_most=1),
    "favorites.get": lambda w: w.favorites.get(OWNER, PRODUCT),
    "favorites.list_page": lambda w: w.favorites.list_page(FavoriteQuery(customer_id=OWNER)),
    "favorites.list_all": lambda w: w.favorites.list_all(OWNER),
    "favorites.contains": lambda w: w.favorites.contains(OWNER, [PRODUCT]),
    "favorites.remove": lambda w: w.favorites.remove(OWNER, PRODUCT, now=NOW),
    "favorites.restore": lambda w: w.favorites.restore(
        OWNER, PRODUCT, removed_since=NOW, at_most=1
    ),
    "favorites.version": lambda w: w.favorites.version(OWNER),
    "favorites.list_changes": lambda w: w.favorites.list_changes(
        OWNER, since=ChangePosition(), limit=1
    ),
    "favorites.list_removed": lambda w: w.favorites.list_removed(OWNER),
    "favorites.forget_removed": lambda w: w.favorites.forget_removed(
        restorable_since=NOW, since=NOW
    ),
    "popularity.list_popular": lambda w: w.popularity.list_popular(at_least=1, limit=1),
    "popularity.reconcile": lambda w: w.popularity.reconcile(),
    "favorites.count": lambda w: w.favorites.count(OWNER),
    "favorites.count_pending": lambda w: w.favorites.count_pending(OWNER),
    "favorites.confirm": lambda w: w.favorites.confirm(PRODUCT, make.snapshot()),
    "favorites.reject": lambda w: w.favorites.reject(PRODUCT, now=NOW),
    "products.get": lambda w: w.products.get(PRODUCT),
    "products.get_many": lambda w: w.products.get_many([PRODUCT]),
    "products.list_page": lambda w: w.products.list_page(ProductQuery()),
    "products.claim": lambda w: w.products.claim([PRODUCT], now=NOW, until=NOW + HOUR),
    "products.block": lambda w: w.products.block([PRODUCT], until=NOW),
    "products.store": lambda w: w.products.store([make.product()], asked_at=NOW),
    "products.note_absence": lambda w: w.products.note_absence(PRODUCT, asked_at=NOW, until=NOW),
    "products.note_complete_list": lambda w: w.products.note_complete_list(
        [PRODUCT], asked_at=NOW
    ),
    "products.catalog_state": lambda w: w.products.catalog_state(),
    "products.claim_catalog": lambda w: w.products.claim_catalog(now=NOW, until=NOW + HOUR),
    "products.block_catalog": lambda w: w.products.block_catalog(until=NOW),
    "products.list_favorited": lambda w: w.products.list_favorited(fetched_before=NOW, limit=1),
    "products.price_history": lambda w: w.products.price_history(PRODUCT),
    "products.purge_unknown": lambda w: w.products.purge_unknown(now=NOW),
    "throttles.take": lambda w: w.throttles.take(
        THROTTLE, ThrottleRule(limit=1, window=SECOND), now=NOW
    ),
    "throttles.give_back": lambda w: w.throttles.give_back(Attempt(key=THROTTLE, at=NOW)),
    "throttles.forget": lambda w: w.throttles.forget(THROTTLE),
    "throttles.purge": lambda w: w.throttles.purge(before=NOW),
    "jobs.enqueue": lambda w: w.jobs.enqueue(ValidateProduct(product_id=PRODUCT)),
}


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def unreachable(request: pytest.FixtureRequest) -> AsyncGenerator[UnitOfWorkFactory]:
    """Storage that cannot be reached: on PostgreSQL, because nobody listens where it should be."""
    if request.param == "memory":
        storage = InMemoryStorage()
        storage.available = False
        yield storage
        return
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        engine = create_engine(f"postgresql://nobody@127.0.0.1:{port}/none", pool_size=1)
        yield partial(PostgresUnitOfWork, sessions_of(engine))
        await engine.dispose()


class TestUnreachableStorage:
    @pytest.mark.parametrize("method", list(METHODS))
    async def test_is_unavailable(self, unreachable: UnitOfWorkFactory, method: str) -> None:
        async with unreachable() as work:
            with pytest.raises(StorageUnavailable) as unavailable:
                await METHODS[method](work)
        assert unavailable.value.retry_after > 0 * SECOND

    def test_is_so_for_every_method(self) -> None:
        promised = {
            f"{name}.{method}"
            for name, repository in get_type_hints(UnitOfWork).items()
            for method in repository.__abstractmethods__
        }
        assert set(METHODS) == promised
