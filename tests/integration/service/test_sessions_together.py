"""Sessions over several processes."""

import asyncio
from collections import Counter

import httpx2
import pytest

from tests.integration.service.harness import Service, until
from tests.integration.service.people import Customer, People

TIMES = 20


async def _refresh(client: httpx2.AsyncClient, token: str) -> httpx2.Response:
    # Without cookies: each of these programs was given the same token.
    return await client.post("/auth/refresh", json={"refresh_token": token})


@pytest.fixture
async def customer(people: People) -> Customer:
    return await people.customer()


async def test_parallel_refreshes_of_one_token_yield_one_successor(
    service: Service, people: People, customer: Customer
) -> None:
    token = customer.refresh_token
    programs = [await people.client(server=number % len(service.urls)) for number in range(TIMES)]
    answers = await asyncio.gather(*(_refresh(program, token) for program in programs))
    assert Counter(answer.status_code for answer in answers) == {200: TIMES}
    successors = {answer.cookies["refresh_token"] for answer in answers}
    assert len(successors) == 1
    [(tokens,)] = service.sql(
        "SELECT count(*) FROM refresh_tokens JOIN sessions ON sessions.id = session_id"
        " WHERE customer_id = %s",
        customer.id,
    )
    assert tokens == 2
    assert {
        (await program.get("/customers/me", headers=_bearer(answer))).status_code
        for program, answer in zip(programs, answers, strict=True)
    } == {200}


async def test_a_token_used_again_ends_the_session_on_every_process(
    service: Service, people: People, customer: Customer
) -> None:
    thief = await people.client(server=1)
    stolen = customer.refresh_token
    program = await people.client()
    first = await _refresh(program, stolen)
    program.cookies.clear()
    second = await _refresh(program, first.cookies["refresh_token"])
    assert (first.status_code, second.status_code) == (200, 200)

    reused = await _refresh(thief, stolen)

    assert (reused.status_code, reused.json()["code"]) == (401, "invalid_refresh_token")
    program.cookies.clear()
    assert (await _refresh(program, second.cookies["refresh_token"])).status_code == 401
    await _assert_ended(service, people, _bearer(second))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/auth/sign-out"),
        ("DELETE", "/customers/me/sessions"),
        ("DELETE", "/customers/me"),
    ],
)
async def test_access_ends_on_every_process(
    service: Service, people: People, customer: Customer, method: str, path: str
) -> None:
    for server in range(len(service.urls)):
        client = await people.client(server=server)
        answer = await client.get("/customers/me", headers=customer.bearer)
        assert answer.status_code == 200
    assert (await customer.client.request(method, path)).status_code == 204
    await _assert_ended(service, people, customer.bearer)


def _bearer(answer: httpx2.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def _assert_ended(service: Service, people: People, bearer: dict[str, str]) -> None:
    clients = [
        await people.client(server=server)
        for server in range(len(service.urls))
        # Connections of their own, so that all processes of a server are asked.
        for _ in range(4)
    ]

    async def ended() -> bool:
        answers = await asyncio.gather(
            *(client.get("/customers/me", headers=bearer) for client in clients)
        )
        return {answer.status_code for answer in answers} == {401}

    # A process may believe for a second what it has just checked.
    await until(ended, within_s=2, what="the end of the session")
