"""The catalog is down, hangs or talks nonsense: customers do not notice."""

import asyncio
from typing import Any

import pytest

from tests.integration.service.harness import Service, until
from tests.integration.service.people import Customer, People

OUTAGES: dict[str, dict[str, Any]] = {
    "down": {"status": 503},
    "limiting": {"status": 429, "retry_after": "99999999999999999999"},
    "hanging": {"fault": "hang"},
    "resetting": {"fault": "reset"},
    "html": {"fault": "html"},
    "infinite_price": {"fault": "infinite_price"},
    "gzip_bomb": {"fault": "gzip_bomb"},
    "redirect": {"fault": "redirect"},
}
# A page of favorites never waits for the catalog, nor does a known product; an unknown one waits
# for one call (FAKESTORE_TIMEOUT) at the most.
QUICK_S = 1.5
ONE_CALL_S = 4.0


@pytest.fixture
async def customer(service: Service, people: People) -> Customer:
    return await people.customer()


@pytest.mark.parametrize("outage", OUTAGES)
async def test_favorites_work_whatever_the_catalog_does(
    service: Service, customer: Customer, outage: str
) -> None:
    client, store = customer.client, service.store
    known, expired, wanted, unknown = (store.new_product() for _ in range(4))
    for product_id in (known, expired):
        added = await client.put(f"/customers/me/favorites/{product_id}")
        assert added.status_code == 201, added.text
    looked_at = await client.get(f"/products/{wanted}")
    assert looked_at.status_code == 200
    # Older than the hard TTL of a day: still the last known copy.
    service.age_product(expired, seconds=100_000)
    before = service.sql("SELECT title, price FROM products_cache WHERE product_id = %s", expired)
    store.misbehave(**OUTAGES[outage])

    pages = await asyncio.gather(
        *(client.get("/customers/me/favorites", timeout=QUICK_S) for _ in range(10))
    )
    assert {page.status_code for page in pages} == {200}
    items = {item["product_id"]: item for item in pages[0].json()["items"]}
    assert {number: item["status"] for number, item in items.items()} == {
        known: "available",
        expired: "available",
    }
    assert not items[known]["product"]["stale"]
    assert items[expired]["product"]["stale"]

    favorited = await client.put(f"/customers/me/favorites/{wanted}", timeout=QUICK_S)
    assert (favorited.status_code, favorited.json()["status"]) == (201, "available")

    pending, never_seen, old = await asyncio.gather(
        client.put(f"/customers/me/favorites/{unknown}", timeout=ONE_CALL_S),
        client.get(f"/products/{store.new_product()}", timeout=ONE_CALL_S),
        client.get(f"/products/{expired}", timeout=ONE_CALL_S),
    )
    assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    assert pending.json()["product"] is None

    assert (old.status_code, old.json()["stale"]) == (200, True)
    assert (never_seen.status_code, never_seen.json()["code"]) == (503, "catalog_unavailable")
    assert int(never_seen.headers["retry-after"]) >= 1

    # Nothing of it was believed.
    after = service.sql("SELECT title, price FROM products_cache WHERE product_id = %s", expired)
    assert after == before
    assert service.sql(
        "SELECT count(*) FROM products_cache WHERE product_id = %s AND fetched_at IS NOT NULL",
        unknown,
    ) == [(0,)]

    store.behave()

    async def fresh() -> bool:
        answer = await client.get(f"/products/{expired}")
        return answer.status_code == 200 and not answer.json()["stale"]

    await until(fresh, within_s=10, what="recovery from the outage")
