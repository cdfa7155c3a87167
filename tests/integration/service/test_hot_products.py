"""The hot tier of the running service: two servers, one PostgreSQL, and a Redis that fails."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass

import httpx2
import pytest
import pytest_asyncio
from redis import Redis

from app.infra.postgres.migrate import upgrade
from development.postgres import EmbeddedPostgres
from tests.integration.service.harness import Service, running_service, until
from tests.integration.service.ledger import Ledger
from tests.plain_http import plain_client
from tests.redis_server import REDIS_SERVER, RedisServer

pytestmark = [pytest.mark.postgres, pytest.mark.redis]

HIT = "favorites; hit"


@pytest.fixture(scope="module")
def one_redis(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    """Return a Redis that all tests of this module share, and leave running."""
    if REDIS_SERVER is None:
        pytest.skip("there is no redis-server on this machine (Debian: redis-server)")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def hot_service(
    own_database: EmbeddedPostgres,
    one_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Service]:
    """Return two servers that share a Redis, and hold copies for longer than any test takes."""
    own_database.create_database("hot_test")
    url = own_database.url("hot_test")
    upgrade(url)
    with running_service(
        tmp_path_factory.mktemp("service"),
        url,
        servers=(1, 1),
        REDIS_URL=one_redis.url,
        HOT_TTL="3600",
        SOFT_TTL="3600",
    ) as service:
        yield service


@dataclass(frozen=True, kw_only=True)
class World:
    """The service, its Redis, a client of each server, and what they cost."""

    service: Service
    redis: RedisServer
    clients: Sequence[httpx2.AsyncClient]
    ledger: Ledger

    async def read(self, product_id: int, *, server: int = 0) -> httpx2.Response:
        """Read a product."""
        answer = await self.clients[server].get(f"/products/{product_id}")
        assert answer.status_code == 200, answer.text
        return answer

    async def cost(self, product_id: int, *, server: int) -> int:
        """Return how many statements it costs to read a product."""
        path = f"/products/{product_id}"
        return len(await self.ledger.statements(self.clients[server], "GET", path))

    async def hot(self, product_id: int) -> None:
        """Wait until reading a product costs neither server a statement."""
        for server in range(len(self.clients)):

            async def free(server: int = server) -> bool:
                return await self.cost(product_id, server=server) == 0

            await until(free, what=f"server {server} finding the product in Redis")

    async def ask_for_all(self, *, server: int) -> None:
        """Let a server ask for the whole catalog."""
        self.service.sql("DELETE FROM catalog_state")
        answer = await self.clients[server].get("/products")
        assert answer.headers["Cache-Status"] == "favorites; fwd=uri-miss; stored"


@pytest_asyncio.fixture
async def world(
    hot_service: Service, one_redis: RedisServer, own_database: EmbeddedPostgres
) -> AsyncGenerator[World]:
    async with (
        plain_client(hot_service.urls[0], timeout=30) as one,
        plain_client(hot_service.urls[1], timeout=30) as other,
    ):
        yield World(
            service=hot_service,
            redis=one_redis,
            clients=[one, other],
            ledger=Ledger(own_database),
        )


async def test_a_hot_product_costs_no_statement(world: World) -> None:
    product_id = world.service.store.new_product()
    cold = await world.read(product_id)
    assert cold.headers["Cache-Status"] == "favorites; fwd=uri-miss; stored"
    await world.hot(product_id)
    hot = await world.read(product_id, server=1)
    assert hot.json() == cold.json()
    assert hot.headers["Cache-Status"] == HIT
    assert int(hot.headers["Age"]) >= 0
    assert hot.headers["Cache-Control"] == cold.headers["Cache-Control"]
    # It is the copy whose age is told, not how long Redis has had it.
    with Redis.from_url(world.redis.url) as redis:
        redis.flushall()
    world.service.age_product(product_id, seconds=1000)
    await world.hot(product_id)
    assert 1000 <= int((await world.read(product_id)).headers["Age"]) < 3600


async def test_a_refresh_is_seen_by_all_servers(world: World) -> None:
    product_id = world.service.store.new_product(price=10)
    await world.read(product_id)
    await world.hot(product_id)
    world.service.store.add_product(product_id, price=12.5)
    await world.ask_for_all(server=1)
    for server in (0, 1):
        assert (await world.read(product_id, server=server)).json()["price"] == "12.50"
    await world.hot(product_id)


async def test_a_removal_is_seen_by_all_servers(world: World) -> None:
    product_id = world.service.store.new_product()
    await world.read(product_id)
    await world.hot(product_id)
    world.service.store.remove_product(product_id)
    for _ in range(2):
        await world.ask_for_all(server=1)
    for client in world.clients:
        assert (await client.get(f"/products/{product_id}")).status_code == 404


def _flush(redis: RedisServer) -> None:
    with Redis.from_url(redis.url) as client:
        client.flushall()


def _poison(redis: RedisServer) -> None:
    with Redis.from_url(redis.url) as client:
        for key in client.keys("favorites:product:*"):
            client.set(key, b'{"id": 666}')


def _replace(redis: RedisServer) -> None:
    redis.stop()
    redis.start()


FAULTS: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None]]] = {
    "flushed": (_flush, lambda _: None),
    "poisoned": (_poison, lambda _: None),
    "replaced": (_replace, lambda _: None),
    "frozen": (RedisServer.freeze, RedisServer.thaw),
    "gone": (RedisServer.stop, RedisServer.start),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_readers_notice_no_fault_of_redis(world: World, fault: str) -> None:
    begin, end = FAULTS[fault]
    product_id = world.service.store.new_product()
    expected = (await world.read(product_id)).json()
    await world.hot(product_id)
    begin(world.redis)
    try:
        answers = await asyncio.gather(
            *(world.read(product_id, server=number % 2) for number in range(60))
        )
    finally:
        end(world.redis)
    assert all(answer.json() == expected for answer in answers)
    assert {answer.headers["Cache-Status"] for answer in answers} == {HIT}
    assert world.service.store.calls(f"/products/{product_id}") == 1
    # By themselves.
    await world.hot(product_id)


async def test_a_hot_product_is_served_while_the_database_is_away(
    world: World, own_database: EmbeddedPostgres
) -> None:
    product_id = world.service.store.new_product()
    expected = (await world.read(product_id)).json()
    await world.hot(product_id)
    own_database.stop()
    try:
        for server in (0, 1):
            assert (await world.read(product_id, server=server)).json() == expected
    finally:
        own_database.start()
