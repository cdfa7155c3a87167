"""SIGTERM under load: no request fails, and the exit status is 0."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.integration.service.harness import POLL_S, STOP_S, Service, running_service, until
from tests.plain_http import plain_client

WORK_S = 3


@pytest.mark.parametrize("processes", [1, 2])
async def test_every_request_is_answered_and_newcomers_are_refused(
    new_database: Callable[..., str], tmp_path: Path, processes: int
) -> None:
    with running_service(
        tmp_path,
        new_database(migrated=True),
        servers=(processes,),
        FAKESTORE_TIMEOUT="9",
        REFRESH_LEASE="11",
    ) as service:
        (server,) = service.servers
        product_ids = [service.store.new_product() for _ in range(8)]
        service.store.misbehave(delay=WORK_S, paths=["/products/1*"])
        async with (
            plain_client(service.urls[0], timeout=20) as client,
            asyncio.TaskGroup() as load,
        ):
            under_way = [
                load.create_task(client.get(f"/products/{product_id}"))
                for product_id in product_ids
                for _ in range(5)
            ]
            kept = [load.create_task(_ask_until_told_to_leave(service)) for _ in range(8)]

            async def all_asked() -> bool:
                return all(service.store.calls(f"/products/{each}") for each in product_ids)

            await until(all_asked, what="the load")
            server.ask_to_stop()
            await until(lambda: _refused(service), what="the end of listening")
            assert not any(task.done() for task in under_way)
        assert {task.result().status_code for task in under_way} == {200}
        for task in kept:
            # After SIGTERM the readiness check fails, and does not succeed again.
            assert set(task.result()) <= {200, 503}
            assert task.result() == sorted(task.result())
        assert await asyncio.to_thread(server.child.wait, STOP_S) == 0


@pytest.mark.parametrize("processes", [1, 2])
async def test_newcomers_are_served_until_everybody_knows(
    new_database: Callable[..., str], tmp_path: Path, processes: int
) -> None:
    with running_service(
        tmp_path, new_database(migrated=True), servers=(processes,), DRAIN_DELAY="8"
    ) as service:
        (server,) = service.servers
        server.ask_to_stop()
        await until(lambda: _unready(service), what="the word that it is not ready")
        answers = await _ask_anew(service, "/health/ready")
        others = await _ask_anew(service, "/products")
        await until(lambda: _refused(service), what="the end of listening")
        assert set(answers) == {503}
        assert set(others) == {200}
        assert await asyncio.to_thread(server.child.wait, STOP_S) == 0


async def _ask_anew(service: Service, path: str, *, times: int = 8) -> list[int]:
    """Ask several times, each on a connection of its own; returns the statuses."""
    anew = httpx2.Limits(max_keepalive_connections=0)
    async with plain_client(service.urls[0], timeout=20, limits=anew) as client:
        return [(await client.get(path)).status_code for _ in range(times)]


async def _unready(service: Service) -> bool:
    # Whichever process takes the connection.
    return set(await _ask_anew(service, "/health/ready")) == {503}


async def _ask_until_told_to_leave(service: Service) -> list[int]:
    """Probe on one connection, as load balancers do, for as long as the server keeps it."""
    statuses = []
    async with plain_client(service.urls[0], timeout=20) as client:
        while True:
            answer = await client.get("/health/ready")
            statuses.append(answer.status_code)
            if answer.headers.get("connection") == "close":
                return statuses
            await asyncio.sleep(POLL_S)


async def _refused(service: Service) -> bool:
    async with plain_client(service.urls[0], timeout=20) as client:
        try:
            await client.get("/health/live")
        except httpx2.ConnectError:
            return True
        except httpx2.TransportError:
            # Connected in the very moment the server stopped listening.
            return False
        return False
