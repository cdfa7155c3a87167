"""The processes that hash passwords: killed under load, and never left behind."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types
import pytest

from tests.hashing import hashing_processes
from tests.integration.service.harness import Service, log_lines, running_service, until
from tests.integration.service.people import PASSWORD
from tests.plain_http import plain_client

EMAIL = "ines@example.com"
CROWD, KILLS, BETWEEN = 8, 5, 12


async def test_killing_them_costs_nobody_more_than_another_try(
    new_database: Callable[..., str], tmp_path: Path
) -> None:
    answers: list[httpx2.Response] = []
    over = asyncio.Event()
    with running_service(
        tmp_path,
        new_database(migrated=True),
        servers=(2,),
        # As in production, so that there are always requests that wait for a hash.
        PASSWORD_MEMORY_KIB="19456",
        PASSWORD_PASSES="2",
        # Crowds are answered, however busy the machine is.
        DATABASE_POOL_TIMEOUT="15",
    ) as service:
        async with plain_client(service.urls[0], timeout=60) as client:
            await _sign_up(client)

            async def sign_in_again_and_again() -> None:
                while not over.is_set():
                    answers.append(await _sign_in(client))

            async with asyncio.TaskGroup() as crowd:
                for _ in range(CROWD):
                    crowd.create_task(sign_in_again_and_again())
                for _ in range(KILLS):
                    await _more(answers)
                    # Only one, if all waiting requests are on the same server: an idle server does
                    # not start its process again.
                    for process in await _processes(service):
                        process.kill()
                await _more(answers)
                over.set()
            assert (await _sign_in(client)).status_code == 200
        assert {answer.status_code for answer in answers} <= {200, 503}
        refused = [answer for answer in answers if answer.status_code == 503]
        assert all("Retry-After" in answer.headers for answer in refused)
        assert len(answers) - len(refused) >= KILLS * BETWEEN / 2
        said = log_lines(service.host.said())
        lost = [line for line in said if line["event"] == "hashing_process_lost"]
        assert {line["exit_status"] for line in lost} == {-9}
        assert not any("request_id" in line for line in lost)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("how", ["is killed", "stops"])
async def test_they_end_with_the_server(
    new_database: Callable[..., str], tmp_path: Path, processes: int, how: str
) -> None:
    with running_service(tmp_path, new_database(migrated=True), servers=(processes,)) as service:
        (server,) = service.servers
        async with plain_client(service.urls[0], timeout=60) as client:
            await _sign_up(client)
            hashing = await _processes(service, at_least=processes)
            if how == "is killed":
                server.kill()
            else:
                server.stop()
        _, alive = await asyncio.to_thread(psutil.wait_procs, hashing, timeout=30)
        assert alive == []


async def _sign_up(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        "/auth/sign-up", json={"name": "Inês", "email": EMAIL, "password": PASSWORD}
    )
    assert answer.status_code == 201, answer.text


async def _sign_in(client: httpx2.AsyncClient) -> httpx2.Response:
    # Without cookies, as a browser that signs in for the first time.
    client.cookies.clear()
    return await client.post("/auth/sign-in", json={"email": EMAIL, "password": PASSWORD})


async def _more(answers: list[httpx2.Response]) -> None:
    """Wait until some more have been answered."""
    enough = len(answers) + BETWEEN

    async def have_come() -> bool:
        return len(answers) >= enough

    await until(have_come, within_s=60, what="an answer")


async def _processes(service: Service, *, at_least: int = 1) -> list[psutil.Process]:
    """Wait until so many hash, and return all who do."""
    (server,) = service.servers

    async def enough_of_them() -> list[psutil.Process]:
        found = hashing_processes(server.child.pid)
        return found if len(found) >= at_least else []

    return await until(enough_of_them, within_s=60, what="the processes that hash")
