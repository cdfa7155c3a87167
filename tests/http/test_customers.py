import httpx2
import pytest

from app.domain.access import Scope
from app.domain.customer import Customer, Role
from tests import make
from tests.double.service import PASSWORD, Service
from tests.http.client import Headers, api_key, bearer


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.fixture
async def ana(service: Service) -> Customer:
    return await service.customer(name="Ana Souza")


@pytest.fixture
async def bia(service: Service) -> Customer:
    return await service.customer(name="Bia Lima")


@pytest.fixture
async def as_ana(client: httpx2.AsyncClient, ana: Customer) -> Headers:
    return await bearer(client, ana)


@pytest.fixture
async def as_admin(client: httpx2.AsyncClient, service: Service) -> Headers:
    return await bearer(client, await service.customer(role=Role.ADMIN))


class TestList:
    async def test_is_for_systems_and_administrators(
        self, client: httpx2.AsyncClient, as_ana: Headers, as_admin: Headers, key: Headers
    ) -> None:
        for headers in (key, as_admin):
            assert (await client.get("/customers", headers=headers)).status_code == 200
        assert code(await client.get("/customers", headers=as_ana)) == (403, "admin_only")

    async def test_filters(
        self, client: httpx2.AsyncClient, key: Headers, ana: Customer, bia: Customer
    ) -> None:
        async def ids(**params: str) -> list[str]:
            response = await client.get("/customers", headers=key, params=params)
            assert response.status_code == 200, response.text
            return [each["id"] for each in response.json()["items"]]

        assert await ids(name="BIA") == [str(bia.id)]
        assert await ids(email=ana.email.value.upper()) == [str(ana.id)]
        assert await ids(role="admin") == []
        assert await ids(sort="-created_at", created_before="2026-11-20T09:00:00.5-03:00")
        assert await ids(created_after="2026-11-20T12:00:01Z") == []

    @pytest.mark.parametrize(
        "query",
        [
            "created_after=yesterday",
            "created_after=2026-11-20",
            "created_after=2026-11-20T12:00:00",
            "created_after=1700000000",
            "created_before=0001-01-01T00:00:00%2B14:00",
            "created_before=9999-12-31T23:59:59-14:00",
            "created_before=2026-13-01T00:00:00Z",
            "role=root",
            "sort=password_hash",
            "name=" + "x" * 101,
        ],
    )
    async def test_refuses_invalid_filters(
        self, client: httpx2.AsyncClient, key: Headers, query: str
    ) -> None:
        response = await client.get(f"/customers?{query}", headers=key)
        assert code(response) == (422, "validation_failed")


class TestCreate:
    async def test_needs_no_password(self, client: httpx2.AsyncClient, key: Headers) -> None:
        body = {"name": "Caio", "email": "caio@example.com"}
        response = await client.post("/customers", headers=key, json=body)
        assert response.status_code == 201
        assert response.headers["Location"] == f"/customers/{response.json()['id']}"
        assert code(await client.post("/customers", headers=key, json=body)) == (
            409,
            "email_taken",
        )


class TestOne:
    async def test_is_limited_to_oneself_for_customers(
        self, client: httpx2.AsyncClient, ana: Customer, bia: Customer, as_ana: Headers
    ) -> None:
        for path in ("/customers/me", f"/customers/{ana.id}", f"/customers/{str(ana.id).upper()}"):
            response = await client.get(path, headers=as_ana)
            assert response.json()["id"] == str(ana.id)
        others = await client.get(f"/customers/{bia.id}", headers=as_ana)
        unknown = await client.get(f"/customers/{make.customer_id()}", headers=as_ana)
        assert code(others) == code(unknown) == (404, "customer_not_found")
        assert others.json()["detail"] == unknown.json()["detail"]

    async def test_is_any_customer_for_administrators(
        self, client: httpx2.AsyncClient, ana: Customer, as_admin: Headers
    ) -> None:
        path = f"/customers/{ana.id}"
        assert (await client.get(path, headers=as_admin)).status_code == 200
        changed = await client.patch(path, headers=as_admin, json={"name": "Ana Lima"})
        assert changed.json()["name"] == "Ana Lima"
        assert (await client.delete(path, headers=as_admin)).status_code == 204
        assert code(await client.get(path, headers=as_admin)) == (404, "customer_not_found")

    async def test_is_limited_to_the_scopes_of_keys(
        self, client: httpx2.AsyncClient, service: Service, ana: Customer
    ) -> None:
        reader = await api_key(service, Scope.CUSTOMERS_READ)
        path = f"/customers/{ana.id}"
        assert (await client.get(path, headers=reader)).status_code == 200
        for response in (
            await client.patch(path, headers=reader, json={}),
            await client.delete(path, headers=reader),
            await client.get(f"{path}/favorites", headers=reader),
        ):
            assert code(response) == (403, "insufficient_scope")
        assert code(await client.get("/customers/me", headers=reader)) == (403, "customer_only")
        assert code(await client.get(f"{path}/export", headers=reader)) == (403, "customer_only")

    @pytest.mark.parametrize(
        "id",
        [
            "x",
            "Me",
            "me ",
            "00000000000040008000000000000001",
            "{00000000-0000-4000-8000-000000000001}",
            "urn:uuid:00000000-0000-4000-8000-000000000001",
            "00000000-0000-4000-8000-00000000000g",
            "\u06600000000-0000-4000-8000-000000000001",
        ],
    )
    async def test_has_a_canonical_id(
        self, client: httpx2.AsyncClient, as_ana: Headers, id: str
    ) -> None:
        response = await client.get(f"/customers/{id}", headers=as_ana)
        assert code(response) == (422, "validation_failed")
        assert response.json()["errors"][0]["pointer"] == "/path/id"


class TestChange:
    async def test_keeps_absent_members(
        self, client: httpx2.AsyncClient, ana: Customer, as_ana: Headers
    ) -> None:
        response = await client.patch("/customers/me", headers=as_ana, json={"name": " Lia "})
        assert response.status_code == 200
        assert response.json()["name"] == "Lia"
        assert response.json()["email"] == ana.email.value

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"name": None}, "validation_failed"),
            ({"email": None}, "validation_failed"),
            ({"role": "admin"}, "validation_failed"),
            ({"id": "x"}, "validation_failed"),
            ({"name": ""}, "validation_failed"),
            ({"name": "x" * 300}, "invalid_name"),
            ({"email": "x"}, "validation_failed"),
            ({"email": "x@y"}, "invalid_email"),
        ],
    )
    async def test_refuses_invalid_members(
        self, client: httpx2.AsyncClient, as_ana: Headers, body: dict[str, str], expected: str
    ) -> None:
        response = await client.patch("/customers/me", headers=as_ana, json=body)
        assert code(response) == (422, expected)

    async def test_to_a_taken_address_is_409(
        self, client: httpx2.AsyncClient, bia: Customer, as_ana: Headers
    ) -> None:
        body = {"email": bia.email.value.upper()}
        response = await client.patch("/customers/me", headers=as_ana, json=body)
        assert code(response) == (409, "email_taken")


class TestVersions:
    async def test_of_a_known_response_are_304(
        self, client: httpx2.AsyncClient, as_ana: Headers
    ) -> None:
        first = await client.get("/customers/me", headers=as_ana)
        assert first.headers["Cache-Control"] == "private, no-cache"
        etag = first.headers["ETag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = await client.get("/customers/me", headers={**as_ana, "If-None-Match": known})
            assert again.status_code == 304
            assert again.content == b""
            assert again.headers["ETag"] == etag
        for unknown in ('"other"', "garbage", ""):
            headers = {**as_ana, "If-None-Match": unknown}
            assert (await client.get("/customers/me", headers=headers)).status_code == 200

    async def test_of_two_customers_differ(
        self, client: httpx2.AsyncClient, as_ana: Headers, bia: Customer
    ) -> None:
        one = await client.get("/customers/me", headers=as_ana)
        other = await client.get("/customers/me", headers=await bearer(client, bia))
        assert one.headers["ETag"] != other.headers["ETag"]

    async def test_prevent_lost_updates(self, client: httpx2.AsyncClient, as_ana: Headers) -> None:
        etag = (await client.get("/customers/me", headers=as_ana)).headers["ETag"]
        headers = {**as_ana, "If-Match": etag}
        first = await client.patch("/customers/me", headers=headers, json={"name": "Lia"})
        assert first.status_code == 200
        second = await client.patch("/customers/me", headers=headers, json={"name": "Mia"})
        assert code(second) == (412, "precondition_failed")
        headers = {**as_ana, "If-Match": first.headers["ETag"]}
        third = await client.patch("/customers/me", headers=headers, json={"name": "Mia"})
        assert third.status_code == 200

    @pytest.mark.parametrize("tag", ['"x"', "garbage", 'W/"x"', '"' + "9" * 5000 + '"', "\x1b"])
    async def test_that_were_never_issued_do_not_match(
        self, client: httpx2.AsyncClient, as_ana: Headers, tag: str
    ) -> None:
        headers = {**as_ana, "If-Match": tag}
        response = await client.patch("/customers/me", headers=headers, json={"name": "Lia"})
        assert code(response) == (412, "precondition_failed")


class TestPassword:
    BODY_OF = "/customers/me/password"

    async def test_ends_the_other_sessions(
        self, client: httpx2.AsyncClient, ana: Customer, as_ana: Headers
    ) -> None:
        elsewhere = await bearer(client, ana)
        body = {"current_password": PASSWORD, "new_password": "uma senha bem longa"}
        response = await client.put(self.BODY_OF, headers=as_ana, json=body)
        assert response.status_code == 204
        assert (await client.get("/customers/me", headers=as_ana)).status_code == 200
        assert (await client.get("/customers/me", headers=elsewhere)).status_code == 401

    async def test_needs_the_current_one(
        self, client: httpx2.AsyncClient, as_ana: Headers
    ) -> None:
        body = {"current_password": "a guess", "new_password": "uma senha bem longa"}
        response = await client.put(self.BODY_OF, headers=as_ana, json=body)
        assert code(response) == (403, "wrong_password")

    async def test_names_the_member_of_a_weak_password(
        self, client: httpx2.AsyncClient, as_ana: Headers
    ) -> None:
        body = {"current_password": PASSWORD, "new_password": "short"}
        response = await client.put(self.BODY_OF, headers=as_ana, json=body)
        assert code(response) == (422, "weak_password")
        assert response.json()["errors"][0]["pointer"] == "/new_password"

    async def test_can_only_be_changed_by_its_owner(
        self, client: httpx2.AsyncClient, ana: Customer, as_admin: Headers, key: Headers
    ) -> None:
        body = {"current_password": PASSWORD, "new_password": "uma senha bem longa"}
        path = f"/customers/{ana.id}/password"
        by_admin = await client.put(path, headers=as_admin, json=body)
        assert code(by_admin) == (404, "customer_not_found")
        assert code(await client.put(path, headers=key, json=body)) == (403, "customer_only")


class TestSessions:
    async def test_are_listed_and_ended(
        self, client: httpx2.AsyncClient, service: Service, ana: Customer, as_ana: Headers
    ) -> None:
        service.clock.advance(make.MINUTE)
        elsewhere = await bearer(client, ana)
        items = (await client.get("/customers/me/sessions", headers=elsewhere)).json()["items"]
        assert [each["current"] for each in items] == [True, False]
        assert set(items[0]) == {
            "id",
            "device",
            "created_at",
            "last_used_at",
            "expires_at",
            "current",
        }
        other = f"/customers/me/sessions/{items[1]['id']}"
        assert (await client.delete(other, headers=elsewhere)).status_code == 204
        assert (await client.get("/customers/me", headers=as_ana)).status_code == 401
        again = await client.delete(other, headers=elsewhere)
        assert code(again) == (404, "session_not_found")
        ended = await client.delete("/customers/me/sessions", headers=elsewhere)
        assert ended.status_code == 204
        assert (await client.get("/customers/me", headers=elsewhere)).status_code == 401

    async def test_of_others_are_not_found(
        self, client: httpx2.AsyncClient, bia: Customer, as_ana: Headers
    ) -> None:
        as_bia = await bearer(client, bia)
        theirs = (await client.get("/customers/me/sessions", headers=as_bia)).json()["items"][0]
        response = await client.delete(f"/customers/me/sessions/{theirs['id']}", headers=as_ana)
        assert code(response) == (404, "session_not_found")


class TestExport:
    async def test_contains_everything(
        self, client: httpx2.AsyncClient, ana: Customer, as_ana: Headers
    ) -> None:
        await client.put("/customers/me/favorites/5", headers=as_ana)
        response = await client.get("/customers/me/export", headers=as_ana)
        assert response.status_code == 200
        body = response.json()
        assert set(body) == {
            "exported_at",
            "customer",
            "sessions",
            "favorites",
            "removed_favorites",
        }
        assert body["customer"]["email"] == ana.email.value
        assert body["favorites"][0]["product_id"] == 5
        assert len(body["sessions"]) == 1


class TestDelete:
    async def test_ends_everything(self, client: httpx2.AsyncClient, as_ana: Headers) -> None:
        assert (await client.delete("/customers/me", headers=as_ana)).status_code == 204
        assert (await client.get("/customers/me", headers=as_ana)).status_code == 401
