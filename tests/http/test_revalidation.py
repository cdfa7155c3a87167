"""Conditional requests (RFC 9110, section 13)."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from app.domain.access import Scope
from app.domain.customer import Customer, Role
from app.domain.favorite import FavoriteQuery
from app.domain.product import ProductId
from app.domain.queries import FavoritesPage
from tests import make
from tests.double.service import Service
from tests.http.client import Headers, api_key, bearer

LIST = "/customers/me/favorites"
ORDERED = f"{LIST}?sort=-favorited_at"
LISTS = [LIST, f"{LIST}?limit=1"]
TAGGED = [
    *LISTS,
    f"{LIST}/5",
    f"{LIST}/contains?product_ids=1,5",
    "/customers/me/profile",
]
OF_PRODUCTS = [path for path in TAGGED if "contains" not in path]


@pytest.fixture
async def ana(service: Service) -> Customer:
    return await service.customer()


@pytest.fixture
async def me(client: httpx2.AsyncClient, ana: Customer) -> Headers:
    """Return the credentials of a customer whose favorite is product 5."""
    me = await bearer(client, ana)
    await client.put(f"{LIST}/5", headers=me)
    return me


@pytest.fixture
def reads(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[FavoriteQuery]:
    """Return the queries for pages of favorites, recorded while the test runs."""
    recorded: list[FavoriteQuery] = []
    queries = service.use_cases.queries
    list_favorites = queries.list_favorites

    async def record(query: FavoriteQuery, **options: Any) -> FavoritesPage:
        recorded.append(query)
        return await list_favorites(query, **options)

    monkeypatch.setattr(queries, "list_favorites", record)
    return recorded


async def tag(client: httpx2.AsyncClient, path: str, headers: Headers) -> str:
    response = await client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "private, no-cache"
    return response.headers["ETag"]


class TestKnownResponse:
    @pytest.mark.parametrize("path", TAGGED)
    async def test_is_304(
        self, reads: list[FavoriteQuery], client: httpx2.AsyncClient, me: Headers, path: str
    ) -> None:
        etag = await tag(client, path, me)
        assert etag.startswith('W/"')
        reads.clear()
        for known in (etag, etag.removeprefix("W/"), f'"other",W/"x", {etag}'):
            response = await client.get(path, headers={**me, "If-None-Match": known})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["ETag"] == etag
            assert response.headers["Cache-Control"] == "private, no-cache"
        several = [*me.items(), ("If-None-Match", '"other"'), ("If-None-Match", etag)]
        assert (await client.get(path, headers=several)).status_code == 304
        head = await client.head(path, headers={**me, "If-None-Match": etag})
        assert head.status_code == 304
        if path in LISTS:
            assert reads == []

    @pytest.mark.parametrize("path", LISTS)
    async def test_is_read_again_after_an_interval(
        self,
        reads: list[FavoriteQuery],
        client: httpx2.AsyncClient,
        service: Service,
        me: Headers,
        path: str,
    ) -> None:
        known = {**me, "If-None-Match": await tag(client, path, me)}
        for _ in range(2):
            service.clock.advance(service.use_cases.cache_policy.revalidation_interval)
            reads.clear()
            for _ in range(2):
                assert (await client.get(path, headers=known)).status_code == 304
            assert len(reads) == 1

    @pytest.mark.parametrize("path", OF_PRODUCTS)
    async def test_still_refreshes_its_products(
        self, client: httpx2.AsyncClient, service: Service, me: Headers, path: str
    ) -> None:
        known = {**me, "If-None-Match": await tag(client, path, me)}
        service.catalog.put(make.product(id=5, price="1.00"))
        service.clock.advance(service.use_cases.cache_policy.soft_ttl + make.SECOND)
        assert (await client.get(path, headers=known)).status_code == 304
        await service.tasks.run()
        response = await client.get(path, headers=known)
        assert (response.status_code, "1.00" in response.text) == (200, True)

    @pytest.mark.parametrize("path", [path for path in TAGGED if path != f"{LIST}/5"])
    async def test_matches_an_asterisk(
        self, reads: list[FavoriteQuery], client: httpx2.AsyncClient, me: Headers, path: str
    ) -> None:
        await tag(client, path, me)
        reads.clear()
        response = await client.get(path, headers={**me, "If-None-Match": " * "})
        assert response.status_code == 304
        if path in LISTS:
            assert reads == []

    @pytest.mark.parametrize("path", TAGGED)
    async def test_has_a_tag_of_its_own(
        self, client: httpx2.AsyncClient, me: Headers, path: str
    ) -> None:
        tags = {other: await tag(client, other, me) for other in TAGGED}
        assert len({*tags.values()}) == len(TAGGED)
        foreign = ", ".join(tags[other] for other in TAGGED if other != path)
        for unknown in (foreign, '"*"', "garbage", "", tags[path].replace("-", "_")):
            response = await client.get(path, headers={**me, "If-None-Match": unknown})
            assert response.status_code == 200

    async def test_has_to_exist(self, client: httpx2.AsyncClient, me: Headers) -> None:
        known = {**me, "If-None-Match": "*"}
        assert (await client.get(f"{LIST}/5", headers=known)).status_code == 304
        missing = await client.get(f"{LIST}/1", headers=known)
        assert (missing.status_code, missing.json()["code"]) == (404, "favorite_not_found")
        assert "ETag" not in missing.headers

    async def test_of_a_deleted_customer_is_404(
        self, client: httpx2.AsyncClient, service: Service, key: Headers
    ) -> None:
        bia = await service.customer(name="Bia Lima")
        for part in ("favorites", "profile"):
            path = f"/customers/{bia.id}/{part}"
            known = {**key, "If-None-Match": await tag(client, path, key)}
            assert (await client.get(path, headers=known)).status_code == 304
        await client.delete(f"/customers/{bia.id}", headers=key)
        for headers in (known, {**key, "If-None-Match": "*"}):
            assert (await client.get(path, headers=headers)).status_code == 404

    async def test_needs_credentials_and_a_valid_query(
        self, client: httpx2.AsyncClient, me: Headers
    ) -> None:
        known = {"If-None-Match": await tag(client, LIST, me)}
        assert (await client.get(LIST, headers=known)).status_code == 401
        wrong = await client.get(f"{LIST}?limit=0", headers={**me, "If-None-Match": "*"})
        assert wrong.status_code == 422


Change = Callable[[httpx2.AsyncClient, Service, Headers], Awaitable[Any]]


async def add(client: httpx2.AsyncClient, service: Service, me: Headers) -> None:
    await client.put(f"{LIST}/1", headers=me)


async def add_by_batch(client: httpx2.AsyncClient, service: Service, me: Headers) -> None:
    await client.post(f"{LIST}/batch", headers=me, json={"add": [1]})


async def refresh(client: httpx2.AsyncClient, service: Service, me: Headers) -> None:
    service.clock.advance(6 * make.MINUTE)
    await client.get(LIST, headers=me)
    await service.tasks.run()


async def change_price(client: httpx2.AsyncClient, service: Service, me: Headers) -> None:
    service.catalog.put(make.product(id=5, price="1.00"))
    await refresh(client, service, me)


async def drop_product(client: httpx2.AsyncClient, service: Service, me: Headers) -> None:
    del service.catalog.products[ProductId(5)]
    for _ in range(2):
        await refresh(client, service, me)
    [item] = (await client.get(LIST, headers=me)).json()["items"]
    assert item["status"] == "removed"


class TestTag:
    @pytest.mark.parametrize("change", [add, add_by_batch, change_price, drop_product])
    async def test_changes_with_the_response(
        self, client: httpx2.AsyncClient, service: Service, me: Headers, change: Change
    ) -> None:
        before = {path: await tag(client, path, me) for path in TAGGED}
        await change(client, service, me)
        for path, known in before.items():
            response = await client.get(path, headers={**me, "If-None-Match": known})
            assert response.status_code == 200

    async def test_changes_when_a_favorite_is_removed_and_restored(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        await client.put(f"{LIST}/1", headers=me)
        present = await tag(client, LIST, me)
        await client.delete(f"{LIST}/1", headers=me)
        removed = await tag(client, LIST, me)
        response = await client.post(f"{LIST}/1/restore", headers=me)
        assert response.status_code == 200
        restored = await tag(client, LIST, me)
        assert len({present, removed, restored}) == 3

    async def test_changes_when_the_catalog_confirms_a_product(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        service.catalog.down = True
        assert (await client.put(f"{LIST}/2", headers=me)).status_code == 202
        path = f"{LIST}/2"
        before = await tag(client, path, me)
        service.catalog.down = False
        service.clock.advance(make.MINUTE)
        await service.use_cases.validate_product(product_id=ProductId(2))
        known = {**me, "If-None-Match": before}
        response = await client.get(path, headers=known)
        assert (response.status_code, response.json()["status"]) == (200, "available")

    @pytest.mark.parametrize("path", TAGGED)
    async def test_does_not_depend_on_the_credentials(
        self,
        client: httpx2.AsyncClient,
        service: Service,
        ana: Customer,
        me: Headers,
        path: str,
    ) -> None:
        before = await tag(client, path, me)
        service.clock.advance(make.SECOND)
        again = await bearer(client, ana)
        assert again != me
        assert await tag(client, path, again) == before
        by_id = path.replace("/me/", f"/{ana.id}/")
        admin = await bearer(client, await service.customer(role=Role.ADMIN))
        key = await api_key(service, Scope.FAVORITES_READ)
        assert await tag(client, by_id, admin) == await tag(client, by_id, key)

    @pytest.mark.parametrize("path", TAGGED)
    async def test_stays_when_nothing_changes(
        self, client: httpx2.AsyncClient, service: Service, me: Headers, path: str
    ) -> None:
        await client.get("/products")
        before = await tag(client, path, me)
        await refresh(client, service, me)
        await client.put(f"{LIST}/5", headers=me)
        await client.delete(f"{LIST}/1", headers=me)
        await client.post(f"{LIST}/batch", headers=me, json={"add": [5], "remove": [1]})
        await client.post(f"{LIST}/import?dry_run=true", headers=me, json={"product_ids": [1, 2]})
        assert await tag(client, path, me) == before

    async def test_of_a_profile_changes_with_the_customer(
        self, client: httpx2.AsyncClient, me: Headers
    ) -> None:
        lists, profile = (
            await tag(client, LIST, me),
            await tag(client, "/customers/me/profile", me),
        )
        await client.patch("/customers/me", headers=me, json={"name": "Ana Lima"})
        assert await tag(client, LIST, me) == lists
        assert await tag(client, "/customers/me/profile", me) != profile

    async def test_differs_for_another_customer(
        self, client: httpx2.AsyncClient, service: Service, me: Headers
    ) -> None:
        bia = await bearer(client, await service.customer(name="Bia Lima"))
        await client.put(f"{LIST}/5", headers=bia)
        known = {**bia, "If-None-Match": await tag(client, LIST, me)}
        assert (await client.get(LIST, headers=known)).status_code == 200

    async def test_is_never_newer_than_the_list(
        self,
        client: httpx2.AsyncClient,
        service: Service,
        ana: Customer,
        me: Headers,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        queries = service.use_cases.queries
        list_favorites = queries.list_favorites

        async def change_after_reading(query: FavoriteQuery, **options: Any) -> FavoritesPage:
            found = await list_favorites(query, **options)
            await service.use_cases.favorite_product(customer_id=ana.id, product_id=ProductId(1))
            return found

        with monkeypatch.context() as patch:
            patch.setattr(queries, "list_favorites", change_after_reading)
            before = await tag(client, ORDERED, me)
        response = await client.get(ORDERED, headers={**me, "If-None-Match": before})
        assert response.status_code == 200
        assert len(response.json()["items"]) == 2
