"""The cache over several processes: the catalog gets one call for all of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator

import httpx2
import psycopg
import pytest
import pytest_asyncio

from tests.integration.service.harness import Service, running_service, until
from tests.integration.service.people import People, Staff

READERS = 200


@pytest.fixture(scope="module")
def service(
    new_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Generator[Service]:
    """
    Return a service that is patient, and remembers failures for longer than a test takes.

    What is asked for has to be answered however long a busy machine needs for a crowd, and nothing
    may run out meanwhile.
    """
    with running_service(
        tmp_path_factory.mktemp("service"),
        new_database(migrated=True),
        servers=(1, 1),
        DATABASE_POOL_TIMEOUT="30",
        FAKESTORE_TIMEOUT="30",
        REFRESH_LEASE="60",
        REFRESH_BACKOFF="300",
    ) as service:
        yield service


@pytest_asyncio.fixture
async def people(service: Service) -> AsyncGenerator[People]:
    """Return what makes clients, all without an account."""
    async with People(service, Staff(admin_email="", admin_password="", keys={})) as people:
        yield people


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
    with psycopg.connect(service.database_url) as holder:
        # What the refresh brings is not kept before everybody has been answered.
        holder.execute("SELECT FROM catalog_state FOR UPDATE")
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
    # Nothing that is worth another try.
    service.store.misbehave(fault="html", product_ids=[product_id])

    async def failed() -> bool:
        return service.store.calls(path) > 1

    answers = await _read_by_all(people, path)
    await until(failed, what="the refresh")
    answers += await _read_by_all(people, path)

    assert Counter(answer.status_code for answer in answers) == {200: 2 * READERS}
    assert service.store.calls(path) == 2


async def test_readers_who_hang_up_cancel_nothing(service: Service, people: People) -> None:
    product_id = service.store.new_product()
    path = f"/products/{product_id}"
    service.store.misbehave(delay=2, product_ids=[product_id])
    impatient = await people.client(connections=50)
    reads = [asyncio.ensure_future(impatient.get(path)) for _ in range(50)]

    async def asked() -> bool:
        return service.store.calls(path) == 1

    await until(asked, what="the call")
    for read in reads:
        read.cancel()
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}

    patient = await people.client()
    assert (await patient.get(path)).status_code == 200
    assert service.store.calls(path) == 1
