"""PostgreSQL stops and returns while the service runs; nothing is restarted."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, contextmanager

import httpx2
import psutil  # type: ignore[import-untyped]  # comes with the wheel, has no types
import pytest
import pytest_asyncio

from development.postgres import EmbeddedPostgres, StopMode
from tests.integration.service.harness import Service, until
from tests.integration.service.people import Customer, People, employ

pytestmark = pytest.mark.postgres

REFUSAL_S = 2.5
RECOVERY_S = 5.0
MODES = {"stops": StopMode.FAST, "crashes": StopMode.IMMEDIATE}


@pytest_asyncio.fixture
async def customer(own_service: Service) -> AsyncGenerator[Customer]:
    async with People(own_service, employ(own_service.database_url, [])) as people:
        customer = await people.customer()
        added = await customer.client.put("/customers/me/favorites/5")
        assert added.status_code == 201, added.text
        yield customer


@contextmanager
def away(database: EmbeddedPostgres, how: str) -> Generator[None]:
    """Take the database away, and bring it back at the end."""
    match how:
        case "hangs":
            processes = [psutil.Process(database.pid)]
            processes += processes[0].children(recursive=True)
            for process in processes:
                process.suspend()
        case "is killed":
            database.kill()
        case _:
            database.stop(MODES[how])
    try:
        yield
    finally:
        if how == "hangs":
            for process in processes:
                process.resume()
        else:
            database.start()


@pytest.mark.parametrize("how", [*MODES, "is killed", "hangs"])
async def test_requests_are_refused_while_it_is_away_and_served_when_it_is_back(
    own_database: EmbeddedPostgres, own_service: Service, customer: Customer, how: str
) -> None:
    # Connections are open in the pools of both processes.
    await asyncio.gather(*(customer.client.get("/customers/me/favorites") for _ in range(20)))
    async with AsyncExitStack() as stack:
        gone = away(own_database, how)
        # Stopping and starting block, and the answers do not wait for that.
        await asyncio.to_thread(gone.__enter__)
        stack.push_async_callback(asyncio.to_thread, gone.__exit__, None, None, None)
        answers = await asyncio.gather(
            *(
                customer.client.request(method, path, timeout=REFUSAL_S)
                for method, path in [
                    ("GET", "/customers/me/favorites"),
                    ("PUT", "/customers/me/favorites/6"),
                    ("DELETE", "/customers/me/favorites/5"),
                    ("GET", "/customers/me"),
                    ("GET", "/products/5"),
                    ("GET", "/health/ready"),
                ]
                for _ in range(5)
            )
        )
        for answer in answers:
            _assert_refused(answer)
        live = await customer.client.get("/health/live", timeout=REFUSAL_S)
        assert live.status_code == 200

    async def ready() -> bool:
        ready = await customer.client.get("/health/ready")
        listed = await customer.client.get("/customers/me/favorites")
        return (ready.status_code, listed.status_code) == (200, 200)

    await until(ready, within_s=RECOVERY_S, what="recovery")
    # Every process, not only the one that answered first.
    again = await asyncio.gather(
        *(customer.client.get("/customers/me/favorites") for _ in range(20))
    )
    assert {answer.status_code for answer in again} == {200}
    assert [item["product_id"] for item in again[0].json()["items"]] == [5]
    assert own_service.servers[0].child.exit_status is None


def _assert_refused(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["code"] == "storage_unavailable"
