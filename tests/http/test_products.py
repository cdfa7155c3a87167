import httpx2

from tests import make
from tests.double.service import Service
from tests.http.client import bearer


class TestProduct:
    async def test_describes_how_the_cache_answered(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        async def read() -> httpx2.Response:
            response = await client.get("/products/5")
            assert response.status_code == 200
            return response

        miss = await read()
        assert miss.headers["Cache-Status"] == "favorites; fwd=uri-miss; stored"
        assert miss.headers["Age"] == "0"
        assert miss.headers["Cache-Control"] == "public, max-age=300"
        service.clock.advance(make.MINUTE)
        hit = await read()
        assert hit.headers["Cache-Status"] == "favorites; hit"
        assert hit.headers["Age"] == "60"
        assert hit.json()["stale"] is False
        service.clock.advance(5 * make.MINUTE)
        stale = await read()
        assert stale.headers["Cache-Status"] == "favorites; hit; detail=stale-while-revalidate"
        assert stale.json()["stale"] is True
        service.catalog.down = True
        service.clock.advance(2 * make.DAY)
        saved = await read()
        assert saved.headers["Cache-Status"] == "favorites; hit; detail=stale-if-error"
        assert saved.json()["stale"] is True

    async def test_is_404_when_the_catalog_does_not_list_it(
        self, client: httpx2.AsyncClient
    ) -> None:
        response = await client.get("/products/99")
        assert (response.status_code, response.json()["code"]) == (404, "product_not_found")

    async def test_is_503_when_the_catalog_is_down_and_there_is_no_copy(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        service.catalog.down = True
        for path in ("/products/5", "/products"):
            response = await client.get(path)
            assert (response.status_code, response.json()["code"]) == (503, "catalog_unavailable")
            assert int(response.headers["Retry-After"]) >= 1
            assert response.headers["Cache-Control"] == "no-store"


class TestProducts:
    async def test_are_filtered_sorted_and_paged(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        for number, price, category in ((11, "3.00", "a"), (12, "1.00", "a"), (13, "2.00", "b")):
            service.catalog.put(make.product(id=number, price=price, category=category))
        first = await client.get("/products?category=a&sort=price&limit=1")
        assert first.headers["Cache-Status"] == "favorites; fwd=uri-miss; stored"
        assert [each["id"] for each in first.json()["items"]] == [12]
        second = await client.get(first.json()["next"])
        assert second.headers["Cache-Status"] == "favorites; hit"
        assert second.headers["Age"] == "0"
        assert [each["id"] for each in second.json()["items"]] == [11]


class TestPopular:
    async def test_are_ordered_by_popularity(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        for add in ([1, 5], [1, 5, 2], [5]):
            headers = await bearer(client, await service.customer())
            await client.post("/customers/me/favorites/batch", headers=headers, json={"add": add})
        response = await client.get("/products/popular?limit=2")
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "public, max-age=60"
        items = response.json()["items"]
        counts = [(each["id"], each["favorites"]) for each in items]
        assert counts == [(5, 3), (1, 2)]
        product = (await client.get("/products/5")).json()
        assert items[0] == {**product, "favorites": 3}

    async def test_leave_out_products_that_few_favor(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        for _ in range(service.popular_min_count - 1):
            headers = await bearer(client, await service.customer())
            await client.put("/customers/me/favorites/5", headers=headers)
        assert (await client.get("/products/popular")).json() == {"items": []}
        assert (await client.get("/products/popular?limit=0")).status_code == 422


class TestPriceHistory:
    async def test_is_oldest_first(self, client: httpx2.AsyncClient, service: Service) -> None:
        service.catalog.put(make.product(id=7, price="10.50"))
        assert (await client.get("/products/7/price-history")).status_code == 404
        await client.get("/products/7")
        response = await client.get("/products/7/price-history")
        assert response.json() == {
            "items": [{"price": "10.50", "seen_at": "2026-11-20T12:00:00Z"}]
        }
