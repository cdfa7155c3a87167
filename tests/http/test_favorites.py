from decimal import Decimal

import httpx2
import pytest

from app.domain.customer import Customer
from app.domain.product import Rating
from tests import make
from tests.double.service import Service
from tests.http.client import Headers, bearer

PATH = "/customers/me/favorites"


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.fixture
async def ana(service: Service) -> Customer:
    return await service.customer()


@pytest.fixture
async def me(client: httpx2.AsyncClient, ana: Customer) -> Headers:
    return await bearer(client, ana)


class TestFavorite:
    async def test_has_the_documented_members(
        self, client: httpx2.AsyncClient, service: Service, ana: Customer, me: Headers
    ) -> None:
        product = make.product(id=7, title="Backpack", price="699.00", rating=None)
        service.catalog.put(product)
        response = await client.post(f"{PATH}/7", headers=me)
        assert response.status_code == 201
        assert response.headers["Location"] == f"/customers/{ana.id}/favorites/7"
        assert response.json() == {
            "product_id": 7,
            "favorited_at": "2026-11-20T12:00:00Z",
            "status": "available",
            "product": {
                "id": 7,
                "title": "Backpack",
                "price": "699.00",
                "description": product.description,
                "category": product.category,
                "image": product.image,
                "rating": None,
                "fetched_at": "2026-11-20T12:00:00Z",
                "stale": False,
            },
            "when_favorited": {
                "title": "Backpack",
                "price": "699.00",
                "image": product.image,
                "rating": None,
            },
            "price_change": "0.00",
        }

    async def test_shows_changes_of_the_product(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        service.catalog.put(make.product(id=7, price="699.00"))
        await client.put(f"{PATH}/7", headers=me)
        rating = Rating(rate=Decimal("4.1"), count=3)
        service.catalog.put(make.product(id=7, price="695.00", rating=rating))
        service.clock.advance(6 * make.MINUTE)
        stale = (await client.get(f"{PATH}/7", headers=me)).json()
        assert stale["product"]["stale"] is True
        await service.tasks.run()
        fresh = (await client.get(f"{PATH}/7", headers=me)).json()
        assert fresh["product"]["stale"] is False
        assert fresh["product"]["price"] == "695.00"
        assert fresh["product"]["rating"] == {"rate": 4.1, "count": 3}
        assert fresh["when_favorited"]["price"] == "699.00"
        assert fresh["price_change"] == "-4.00"

    @pytest.mark.parametrize(("first", "second"), [("PUT", "POST"), ("POST", "PUT")])
    async def test_is_idempotent(
        self, client: httpx2.AsyncClient, me: Headers, first: str, second: str
    ) -> None:
        new = await client.request(first, f"{PATH}/5", headers=me)
        old = await client.request(second, f"{PATH}/5", headers=me)
        assert (new.status_code, old.status_code) == (201, 200)
        assert new.json() == old.json() == (await client.get(f"{PATH}/5", headers=me)).json()

    async def test_of_an_unknown_product_is_404(
        self, client: httpx2.AsyncClient, me: Headers
    ) -> None:
        response = await client.put(f"{PATH}/99", headers=me)
        assert code(response) == (404, "product_not_found")
        assert code(await client.get(f"{PATH}/99", headers=me)) == (404, "favorite_not_found")

    async def test_is_pending_while_the_catalog_is_down(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        service.catalog.down = True
        for status in (202, 202):
            response = await client.put(f"{PATH}/5", headers=me)
            assert response.status_code == status
            body = response.json()
            assert body["status"] == "pending"
            assert body["product"] is body["when_favorited"] is body["price_change"] is None
        for product_id in (1, 2):
            await client.put(f"{PATH}/{product_id}", headers=me)
        full = await client.put(f"{PATH}/6", headers=me)
        assert code(full) == (409, "too_many_pending")

    async def test_is_removed_idempotently(self, client: httpx2.AsyncClient, me: Headers) -> None:
        await client.put(f"{PATH}/5", headers=me)
        for _ in range(2):
            assert (await client.delete(f"{PATH}/5", headers=me)).status_code == 204
        assert (await client.get(f"{PATH}/5", headers=me)).status_code == 404

    async def test_needs_no_body(self, client: httpx2.AsyncClient, me: Headers) -> None:
        response = await client.put(f"{PATH}/5", headers=me, json={"anything": True})
        assert response.status_code == 201


class TestList:
    async def test_is_newest_first_and_paged(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        for product_id in (1, 5, 2):
            await client.put(f"{PATH}/{product_id}", headers=me)
            service.clock.advance(make.SECOND)
        first = (await client.get(f"{PATH}?limit=2", headers=me)).json()
        assert [each["product_id"] for each in first["items"]] == [2, 5]
        last = (await client.get(first["next"], headers=me)).json()
        assert [each["product_id"] for each in last["items"]] == [1]
        assert "next" not in last

    async def test_is_available_while_the_catalog_is_down(
        self, client: httpx2.AsyncClient, service: Service, ana: Customer, me: Headers
    ) -> None:
        await client.put(f"{PATH}/5", headers=me)
        service.clock.advance(2 * make.DAY)
        service.catalog.down = True
        calls = service.catalog.calls
        # The access token has expired.
        me = await bearer(client, ana)
        [item] = (await client.get(PATH, headers=me)).json()["items"]
        assert (item["status"], item["product"]["stale"]) == ("available", True)
        assert service.catalog.calls == calls

    async def test_of_an_unknown_customer_is_404(
        self, client: httpx2.AsyncClient, key: Headers
    ) -> None:
        for part in ("favorites", "profile"):
            response = await client.get(f"/customers/{make.customer_id()}/{part}", headers=key)
            assert code(response) == (404, "customer_not_found")


class TestContains:
    async def test_returns_a_result_for_each_product(
        self, client: httpx2.AsyncClient, me: Headers
    ) -> None:
        await client.put(f"{PATH}/5", headers=me)
        response = await client.get(f"{PATH}/contains?product_ids=5,1,5", headers=me)
        assert response.json() == {"items": {"5": True, "1": False}}

    @pytest.mark.parametrize(
        "ids", ["", ",", "1,", "1,,2", "1, 2", "01", "1.0", "x", "2147483648", "1," * 100 + "1"]
    )
    async def test_refuses_invalid_lists_of_ids(
        self, client: httpx2.AsyncClient, me: Headers, ids: str
    ) -> None:
        response = await client.get(f"{PATH}/contains", params={"product_ids": ids}, headers=me)
        assert code(response) == (422, "validation_failed")
        assert response.json()["errors"][0]["pointer"] == "/query/product_ids"

    async def test_accepts_a_hundred_products(
        self, client: httpx2.AsyncClient, me: Headers
    ) -> None:
        ids = ",".join(str(number) for number in range(1, 101))
        response = await client.get(f"{PATH}/contains?product_ids={ids}", headers=me)
        assert len(response.json()["items"]) == 100


class TestProfile:
    async def test_links_to_the_next_page_of_favorites(
        self, client: httpx2.AsyncClient, service: Service, ana: Customer, me: Headers
    ) -> None:
        for product_id in (1, 5, 2):
            await client.put(f"{PATH}/{product_id}", headers=me)
            service.clock.advance(make.SECOND)
        body = (await client.get("/customers/me/profile?limit=2", headers=me)).json()
        assert body["customer"]["id"] == str(ana.id)
        assert len(body["favorites"]["items"]) == 2
        assert body["favorites"]["next"].startswith(f"{PATH}?")
        rest = (await client.get(body["favorites"]["next"], headers=me)).json()
        assert [each["product_id"] for each in rest["items"]] == [1]
