"""The cache over several processes: the catalog gets one call, whoever asks."""

import asyncio
from collections import Counter

import httpx2

from tests.integration.service.harness import Service, until
from tests.integration.service.people import People

READERS = 200


async def _read_by_all(people: People, path: str) -> list[httpx2.Response]:
    clients = [
        await people.client(server=server, connections=READERS)
        for server in range(len(people.service.urls))
    ]
    return await asyncio.gather(
        *(clients[number % len(clients)].get(path) for number in range(READERS))
    )


async def test_a_new_product_is_one_that_nobody_has_asked_for(
    service: Service, people: People
) -> None:
    last = service.store.new_id()
    reader = await people.client()
    # Generated requests ask for whatever comes to their mind, also for what comes next.
    assert (await reader.get(f"/products/{last + 1}")).status_code == 404
    product_id = service.store.new_product()
    assert service.store.calls(f"/products/{product_id}") == 0
    assert (await reader.get(f"/products/{product_id}")).status_code == 200


async def test_two_hundred_readers_of_a_cold_product_make_one_call(
    service: Service, people: People
) -> None:
    product_id = service.store.new_product()
    path = f"/products/{product_id}"
    service.store.misbehave(delay=0.5, product_ids=[product_id])
    answers = await _read_by_all(people, path)
    assert Counter(answer.status_code for answer in answers) == {200: READERS}
    assert {answer.json()["id"] for answer in answers} == {product_id}
    assert service.store.calls(path) == 1
    # One asked and stored; everybody else shared its call or found its copy.
    served = Counter(answer.headers["cache-status"] for answer in answers)
    assert served["favorites; fwd=uri-miss; stored"] == 1, served


async def test_at_soft_expiry_everybody_gets_the_copy_and_one_call_is_made(
    service: Service, people: People
) -> None:
    product_id = service.store.new_product(price=10)
    path = f"/products/{product_id}"
    reader = await people.client()
    assert (await reader.get(path)).json()["price"] == "10.00"
    service.age_product(product_id, seconds=600)
    service.store.add_product(product_id, price=12.5)
    # The refresh does not return before everybody has been answered.
    service.store.misbehave(delay=1, product_ids=[product_id])

    answers = await _read_by_all(people, path)

    assert Counter(answer.status_code for answer in answers) == {200: READERS}
    assert {answer.json()["price"] for answer in answers} == {"10.00"}
    assert {answer.headers["cache-status"] for answer in answers} == {
        "favorites; hit; detail=stale-while-revalidate"
    }

    async def refreshed() -> bool:
        answer = await reader.get(path)
        return bool(answer.json()["price"] == "12.50")

    await until(refreshed, what="the refresh")
    assert service.store.calls(path) == 2
    history = await reader.get(f"{path}/price-history")
    assert [each["price"] for each in history.json()["items"]] == ["10.00", "12.50"]


async def test_a_failing_refresh_is_no_storm(service: Service, people: People) -> None:
    product_id = service.store.new_product()
    path = f"/products/{product_id}"
    reader = await people.client()
    assert (await reader.get(path)).status_code == 200
    service.age_product(product_id, seconds=600)
    # A call that hangs holds the lease until its deadline: long after these readers have left.
    service.store.misbehave(fault="hang", product_ids=[product_id])
    answers = await _read_by_all(people, path)
    assert Counter(answer.status_code for answer in answers) == {200: READERS}
    assert service.store.calls(path) == 2


async def test_readers_who_hang_up_cancel_nothing(service: Service, people: People) -> None:
    product_id = service.store.new_product()
    path = f"/products/{product_id}"
    service.store.misbehave(delay=1, product_ids=[product_id])
    impatient = await people.client(connections=50)

    async def give_up() -> None:
        try:
            await impatient.get(path, timeout=0.2)
        except httpx2.TimeoutException:
            return
        raise AssertionError("answered before the catalog was")

    await asyncio.gather(*(give_up() for _ in range(50)))
    patient = await people.client()
    assert (await patient.get(path)).status_code == 200
    assert service.store.calls(path) == 1
