from typing import Any

import httpx2
import pytest

from app.domain.access import Scope
from app.domain.customer import Customer
from app.domain.product import ProductId
from tests import make
from tests.double.service import Service
from tests.http.client import Headers, api_key, bearer

LIST = "/customers/me/favorites"
BATCH, CHANGES = f"{LIST}/batch", f"{LIST}/changes"


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.fixture
async def ana(service: Service) -> Customer:
    return await service.customer()


@pytest.fixture
async def me(client: httpx2.AsyncClient, ana: Customer) -> Headers:
    return await bearer(client, ana)


class TestBatch:
    async def test_returns_results_in_the_order_of_the_request(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        for product_id in (1, 5):
            await client.put(f"{LIST}/{product_id}", headers=me)
        calls = service.catalog.calls
        body = {"add": [99, 2, 1], "remove": [6, 5]}
        response = await client.post(BATCH, headers=me, json=body)
        assert response.status_code == 200
        assert response.json() == {
            "items": [
                {"product_id": 99, "result": "product_not_found"},
                {"product_id": 2, "result": "added"},
                {"product_id": 1, "result": "already_present"},
                {"product_id": 6, "result": "not_present"},
                {"product_id": 5, "result": "removed"},
            ]
        }
        assert service.catalog.calls == calls + 1
        hearts = await client.get(f"{LIST}/contains?product_ids=1,2,5,99", headers=me)
        assert hearts.json()["items"] == {"1": True, "2": True, "5": False, "99": False}

    async def test_is_pending_while_the_catalog_is_down(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        service.catalog.down = True
        body = {"add": [1, 2, 3, 4]}
        items = (await client.post(BATCH, headers=me, json=body)).json()["items"]
        assert [each["result"] for each in items] == [*["pending"] * 3, "too_many_pending"]

    async def test_stops_adding_when_the_list_is_full(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        numbers = range(1, service.favorites_max + 1)
        service.catalog.put(*(make.product(id=number) for number in (*numbers, 999)))
        await client.post(BATCH, headers=me, json={"add": list(numbers)})
        body = {"add": [999, 1], "remove": []}
        items = (await client.post(BATCH, headers=me, json=body)).json()["items"]
        assert [each["result"] for each in items] == ["favorites_full", "already_present"]
        assert code(await client.put(f"{LIST}/999", headers=me)) == (409, "favorites_full")
        swap = {"add": [999], "remove": [1]}
        items = (await client.post(BATCH, headers=me, json=swap)).json()["items"]
        assert [each["result"] for each in items] == ["added", "removed"]
        restored = await client.post(f"{LIST}/1/restore", headers=me)
        assert code(restored) == (409, "favorites_full")

    @pytest.mark.parametrize(
        ("body", "at"),
        [
            ({}, ""),
            ({"add": [], "remove": []}, ""),
            ({"add": [1, 1]}, ""),
            ({"add": [1], "remove": [1]}, ""),
            ({"add": list(range(1, 102))}, "/add"),
            ({"add": list(range(1, 61)), "remove": list(range(61, 102))}, ""),
            ({"add": [0]}, "/add/0"),
            ({"add": ["1"]}, "/add/0"),
            ({"add": [True]}, "/add/0"),
            ({"add": [1.0]}, "/add/0"),
            ({"remove": [1, 2_147_483_648]}, "/remove/1"),
            ({"add": None}, "/add"),
            ({"add": [1], "replace": [2]}, "/replace"),
        ],
    )
    async def test_refuses_invalid_bodies(
        self, client: httpx2.AsyncClient, me: Headers, body: dict[str, Any], at: str
    ) -> None:
        response = await client.post(BATCH, headers=me, json=body)
        assert code(response) == (422, "validation_failed")
        assert [each["pointer"] for each in response.json()["errors"]] == [at]

    async def test_accepts_a_hundred_products(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        service.catalog.put(*(make.product(id=number) for number in range(1, 51)))
        body = {"add": list(range(1, 51)), "remove": list(range(51, 101))}
        items = (await client.post(BATCH, headers=me, json=body)).json()["items"]
        assert [each["product_id"] for each in items] == list(range(1, 101))
        assert {each["result"] for each in items} == {"added", "not_present"}

    async def test_of_an_unknown_customer_is_404(
        self, client: httpx2.AsyncClient, key: Headers
    ) -> None:
        path = f"/customers/{make.customer_id()}/favorites/batch"
        response = await client.post(path, headers=key, json={"add": [1]})
        assert code(response) == (404, "customer_not_found")


class TestRestore:
    async def test_undoes_a_removal(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        before = (await client.put(f"{LIST}/5", headers=me)).json()
        service.clock.advance(make.MINUTE)
        await client.delete(f"{LIST}/5", headers=me)
        service.clock.advance(9 * make.MINUTE)
        for _ in range(2):
            response = await client.post(f"{LIST}/5/restore", headers=me)
            assert response.status_code == 200
            restored = response.json()
            restored["product"]["stale"] = before["product"]["stale"]
            assert restored == before

    async def test_is_404_after_the_window_or_without_a_removal(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        await client.put(f"{LIST}/5", headers=me)
        await client.delete(f"{LIST}/5", headers=me)
        service.clock.advance(10 * make.MINUTE + make.SECOND)
        for product_id in (5, 1):
            response = await client.post(f"{LIST}/{product_id}/restore", headers=me)
            assert code(response) == (404, "favorite_not_found")


class TestChanges:
    async def test_start_with_the_whole_list(
        self, client: httpx2.AsyncClient, me: Headers
    ) -> None:
        empty = (await client.get(CHANGES, headers=me)).json()
        assert (empty["items"], empty["more"]) == ([], False)
        for product_id in (1, 5):
            await client.put(f"{LIST}/{product_id}", headers=me)
        await client.delete(f"{LIST}/1", headers=me)
        for since in ("", f"?since={empty['cursor']}"):
            body = (await client.get(f"{CHANGES}{since}", headers=me)).json()
            assert body["more"] is False
            assert "next" not in body
            [item] = [each for each in body["items"] if each["change"] != "removed"]
            assert (item["product_id"], item["change"]) == (5, "added")
            listed = (await client.get(LIST, headers=me)).json()["items"]
            assert [item["favorite"]] == listed

    async def test_continue_from_the_cursor(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        await client.put(f"{LIST}/1", headers=me)
        seen = (await client.get(CHANGES, headers=me)).json()["cursor"]
        service.catalog.down = True
        await client.put(f"{LIST}/5", headers=me)
        await client.delete(f"{LIST}/1", headers=me)
        first = (await client.get(CHANGES, headers=me, params={"since": seen})).json()
        by_id = {each["product_id"]: each for each in first["items"]}
        assert by_id[1] == {"product_id": 1, "change": "removed", "favorite": None}
        assert by_id[5]["change"] == "added"
        assert by_id[5]["favorite"]["status"] == "pending"
        service.catalog.down = False
        service.clock.advance(make.MINUTE)
        await service.use_cases.validate_product(product_id=ProductId(5))
        params = {"since": first["cursor"]}
        [second] = (await client.get(CHANGES, headers=me, params=params)).json()["items"]
        assert (second["product_id"], second["change"]) == (5, "changed")
        assert second["favorite"]["status"] == "available"

    @pytest.mark.parametrize("from_beginning", [True, False])
    async def test_are_paged(
        self, client: httpx2.AsyncClient, me: Headers, *, from_beginning: bool
    ) -> None:
        await client.put(f"{LIST}/5", headers=me)
        await client.delete(f"{LIST}/5", headers=me)
        since = (await client.get(CHANGES, headers=me)).json()["cursor"]
        for product_id in (5, 1, 2):
            await client.put(f"{LIST}/{product_id}", headers=me)
        seen: list[int] = []
        url = f"{CHANGES}?limit=1" if from_beginning else f"{CHANGES}?limit=1&since={since}"
        while url:
            body = (await client.get(url, headers=me)).json()
            seen += [each["product_id"] for each in body["items"]]
            url = body.get("next")
            assert bool(url) is body["more"]
        assert seen == [5, 1, 2]
        rest = await client.get(CHANGES, headers=me, params={"since": body["cursor"]})
        assert rest.json() == {"items": [], "cursor": body["cursor"], "more": False}

    async def test_belong_to_one_customer(
        self, client: httpx2.AsyncClient, service: Service, ana: Customer, me: Headers
    ) -> None:
        await client.put(f"{LIST}/1", headers=me)
        cursor = (await client.get(CHANGES, headers=me)).json()["cursor"]
        bia = await bearer(client, await service.customer(name="Bia Lima"))
        changed = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
        page = (await client.get(f"{LIST}?limit=1", headers=me)).json().get("next", "x=")
        for headers, since in (
            (bia, cursor),
            (me, changed),
            (me, ""),
            (me, "x"),
            (me, page.rpartition("=")[2]),
        ):
            response = await client.get(CHANGES, headers=headers, params={"since": since})
            assert code(response) == (400, "invalid_cursor")
        key = await api_key(service, Scope.FAVORITES_READ)
        by_id = f"/customers/{ana.id}/favorites/changes"
        response = await client.get(by_id, headers=key, params={"since": cursor})
        assert response.status_code == 200

    async def test_that_are_forgotten_are_410_with_a_new_start(
        self, client: httpx2.AsyncClient, service: Service, ana: Customer, me: Headers
    ) -> None:
        await client.put(f"{LIST}/1", headers=me)
        cursor = (await client.get(CHANGES, headers=me)).json()["cursor"]
        await client.delete(f"{LIST}/1", headers=me)
        service.clock.advance(31 * make.DAY)
        await service.use_cases.purge()
        me = await bearer(client, ana)
        response = await client.get(CHANGES, headers=me, params={"since": cursor})
        assert code(response) == (410, "changes_forgotten")
        restarted = await client.get(response.json()["start_over"], headers=me)
        assert (restarted.status_code, restarted.json()["items"]) == (200, [])

    async def test_of_an_unknown_customer_are_404(
        self, client: httpx2.AsyncClient, key: Headers
    ) -> None:
        path = f"/customers/{make.customer_id()}/favorites/changes"
        assert code(await client.get(path, headers=key)) == (404, "customer_not_found")
