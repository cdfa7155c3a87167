"""Every query promises that a database which cannot be reached is an outcome."""

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
import pytest_asyncio

from app.domain.access import ApiKeyId
from app.domain.customer import CustomerQuery
from app.domain.favorite import ChangePosition, FavoriteQuery
from app.domain.outcome import StorageUnavailable
from app.domain.product import ProductId, ProductQuery
from app.domain.queries import Queries
from app.domain.session import SessionId
from app.infra.postgres.engine import connector
from app.infra.postgres.queries import PostgresQueries
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.statement_pool import StatementPool
from tests import make
from tests.database import PATIENT
from tests.double.queries import InMemoryQueries
from tests.double.storage import InMemoryStorage
from tests.make import NOW, SECOND

OWNER = make.customer_id()
PRODUCT = ProductId(5)

METHODS: dict[str, Callable[[Queries], Awaitable[object]]] = {
    "find_principal": lambda q: q.find_principal(SessionId(make.uuid()), now=NOW),
    "find_api_key": lambda q: q.find_api_key(ApiKeyId("key")),
    "list_api_keys": lambda q: q.list_api_keys(),
    "find_customer": lambda q: q.find_customer(OWNER),
    "list_customers": lambda q: q.list_customers(CustomerQuery()),
    "list_sessions": lambda q: q.list_sessions(OWNER, now=NOW),
    "find_records": lambda q: q.find_records(OWNER),
    "list_version": lambda q: q.list_version(OWNER),
    "list_favorites": lambda q: q.list_favorites(FavoriteQuery(customer_id=OWNER)),
    "find_favorite": lambda q: q.find_favorite(OWNER, PRODUCT),
    "contains": lambda q: q.contains(OWNER, [PRODUCT]),
    "list_changes": lambda q: q.list_changes(OWNER, since=ChangePosition(), limit=1),
    "find_profile": lambda q: q.find_profile(OWNER, limit=1),
    "find_product": lambda q: q.find_product(PRODUCT),
    "find_products": lambda q: q.find_products([PRODUCT]),
    "list_products": lambda q: q.list_products(ProductQuery()),
    "list_popular": lambda q: q.list_popular(at_least=1, limit=1),
    "list_prices": lambda q: q.list_prices(PRODUCT),
    "list_favorited": lambda q: q.list_favorited(fetched_before=NOW, limit=1),
}


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def unreachable(request: pytest.FixtureRequest) -> AsyncGenerator[Queries]:
    if request.param == "memory":
        storage = InMemoryStorage()
        storage.available = False
        yield InMemoryQueries(storage)
        return
    with socket.socket() as unused:
        # Bound, but not listening: connections are refused.
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql://user@127.0.0.1:{unused.getsockname()[1]}/none"
        pool = StatementPool(connector(url), size=1)
        queries = PostgresQueries(pool, ProductRowCache(pool.fetch), patience=PATIENT)
        yield queries
        await queries.aclose()


@pytest.mark.parametrize("method", list(METHODS))
async def test_is_unavailable(unreachable: Queries, method: str) -> None:
    with pytest.raises(StorageUnavailable) as unavailable:
        await METHODS[method](unreachable)
    assert unavailable.value.retry_after > 0 * SECOND


def test_is_so_for_every_method() -> None:
    # What was read before needs no database.
    assert set(METHODS) == Queries.__abstractmethods__ - {"last_seen_product"}
