from http.cookies import Morsel, SimpleCookie

import httpx2
import pytest

from app.domain.access import Scope
from tests import make
from tests.double.service import PASSWORD, Service
from tests.http.client import API_KEY, Headers, api_key, bearer, build, connect

NEW = {"name": "Ana Souza", "email": "Ana@Example.com", "password": "uma senha bem longa"}


def cookies(response: httpx2.Response) -> dict[str, Morsel[str]]:
    """Return the cookies that a response sets, with their attributes."""
    found: dict[str, Morsel[str]] = {}
    for header in response.headers.get_list("set-cookie"):
        found |= SimpleCookie(header)
    return found


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


class TestSignUp:
    async def test_returns_the_customer(self, client: httpx2.AsyncClient) -> None:
        response = await client.post("/auth/sign-up", json=NEW)
        assert response.status_code == 201
        body = response.json()
        assert response.headers["Location"] == f"/customers/{body['id']}"
        assert body == {
            "id": body["id"],
            "name": "Ana Souza",
            "email": "Ana@example.com",
            "role": "customer",
            "created_at": "2026-11-20T12:00:00Z",
            "updated_at": "2026-11-20T12:00:00Z",
        }
        assert response.headers["Cache-Control"] == "no-store"
        assert not cookies(response)

    async def test_of_a_taken_address_is_409(self, client: httpx2.AsyncClient) -> None:
        await client.post("/auth/sign-up", json=NEW)
        again = await client.post("/auth/sign-up", json={**NEW, "email": "ana@EXAMPLE.com"})
        assert code(again) == (409, "email_taken")

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"name": " "}, "invalid_name"),
            ({"name": "x" * 101}, "invalid_name"),
            ({"name": "x" * 5000}, "validation_failed"),
            ({"email": "nobody"}, "invalid_email"),
            ({"password": "short"}, "weak_password"),
            ({"password": "x" * 129}, "weak_password"),
            ({"role": "admin"}, "validation_failed"),
        ],
    )
    async def test_with_an_invalid_member_is_422(
        self, client: httpx2.AsyncClient, change: dict[str, str], expected: str
    ) -> None:
        response = await client.post("/auth/sign-up", json={**NEW, **change})
        assert code(response) == (422, expected)
        assert [each["pointer"] for each in response.json()["errors"]] == [
            f"/{name}" for name in change
        ]

    async def test_is_throttled_by_address(self, service: Service) -> None:
        async with connect(build(service), peer="192.0.2.1") as client:
            for number in range(20):
                body = {**NEW, "email": f"ana{number}@example.com"}
                assert (await client.post("/auth/sign-up", json=body)).status_code == 201
            refused = await client.post("/auth/sign-up", json=NEW)
        async with connect(build(service), peer="192.0.2.2") as other:
            assert (await other.post("/auth/sign-up", json=NEW)).status_code == 201
        assert code(refused) == (429, "too_many_attempts")
        assert int(refused.headers["Retry-After"]) >= 1


class TestSignIn:
    async def test_returns_a_token_and_cookies(self, service: Service) -> None:
        customer = await service.customer()
        async with connect(build(service, cookie_secure=True)) as client:
            response = await client.post(
                "/auth/sign-in", json={"email": customer.email.value, "password": PASSWORD}
            )
        body = response.json()
        assert response.status_code == 200
        assert set(body) == {"access_token", "token_type", "expires_in", "customer"}
        assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
        assert body["customer"]["id"] == str(customer.id)
        access, refresh = (cookies(response)[name] for name in ("access_token", "refresh_token"))
        assert access.value == body["access_token"]
        assert (access["path"], refresh["path"]) == ("/", "/auth")
        assert access["max-age"] == "900"
        assert refresh["max-age"] == str(7 * 24 * 3600)
        for cookie in (access, refresh):
            assert cookie["httponly"]
            assert cookie["secure"]
            assert cookie["samesite"] == "lax"

    async def test_sets_insecure_cookies_if_configured(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        customer = await service.customer()
        response = await client.post(
            "/auth/sign-in", json={"email": customer.email.value, "password": PASSWORD}
        )
        assert not cookies(response)["access_token"]["secure"]

    async def test_does_not_distinguish_unknown_addresses_from_wrong_passwords(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        customer = await service.customer()
        answers = []
        for email in (customer.email.value, "nobody@example.com", "no address"):
            response = await client.post(
                "/auth/sign-in", json={"email": email, "password": "another password"}
            )
            assert code(response) == (401, "invalid_credentials")
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="favorites"'
            assert not cookies(response)
            answers.append({**response.json(), "request_id": ""})
        assert answers[0] == answers[1] == answers[2]

    async def test_is_503_when_the_hashing_queue_is_full(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        service.hasher.busy = True
        response = await client.post("/auth/sign-in", json={"email": "a@b.test", "password": "x"})
        assert code(response) == (503, "hashing_busy")
        assert response.headers["Retry-After"] == "1"


class TestCredentials:
    @pytest.fixture
    async def token(self, client: httpx2.AsyncClient, service: Service) -> str:
        headers = await bearer(client, await service.customer())
        return headers["Authorization"].removeprefix("Bearer ")

    async def test_are_accepted_as_cookie_or_header_field(
        self, client: httpx2.AsyncClient, token: str, key: Headers
    ) -> None:
        for headers in (
            {"Cookie": f"access_token={token}"},
            {"Cookie": f'theme=dark; access_token="{token}"'},
            {"Authorization": f"Bearer {token}"},
            {"Authorization": f"bearer  {token}"},
            {"Authorization": f"Bearer {token}", "Cookie": f"access_token={token}"},
        ):
            assert (await client.get("/customers/me", headers=headers)).status_code == 200
        assert (await client.get("/customers", headers=key)).status_code == 200

    async def test_are_refused_if_several_differ(
        self, client: httpx2.AsyncClient, service: Service, token: str, key: Headers
    ) -> None:
        other = (await bearer(client, await service.customer()))["Authorization"].split(" ")[1]
        presented = [
            [("Cookie", f"access_token={token}; access_token={other}")],
            [("Cookie", f"access_token={token}"), ("Cookie", f"access_token={other}")],
            [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {other}")],
            [("Authorization", f"Bearer {token}"), *key.items()],
            [*key.items(), (API_KEY, "another")],
        ]
        for headers in presented:
            response = await client.get("/customers/me", headers=headers)
            assert code(response) == (401, "invalid_token"), headers

    async def test_in_a_header_field_take_precedence_over_the_cookie(
        self, client: httpx2.AsyncClient, service: Service, token: str, key: Headers
    ) -> None:
        other = await service.customer(name="Bia Lima")
        cookie = {"Cookie": f"access_token={token}"}
        response = await client.get("/customers/me", headers=await bearer(client, other) | cookie)
        assert response.json()["name"] == "Bia Lima"
        response = await client.get("/customers", headers=key | cookie)
        assert response.status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": ""},
            {"Authorization": "Bearer"},
            {"Authorization": "Basic YTpi"},
            {"Authorization": "Bearer a b"},
            {"Authorization": "Bearer " + "x" * 20_000},
            {"Authorization": b"Bearer \xff\xfe"},
            {"Cookie": "access_token="},
            {"Cookie": "access_token=" + "x" * 16_000},
            {"Cookie": b"access_token=\xff"},
            {API_KEY: ""},
            {API_KEY: "x"},
            {API_KEY: b"aiq_\xff_\x1b[31m"},
            {API_KEY: "aiq_test_" + "0" * 64},
        ],
    )
    async def test_that_are_malformed_are_401(
        self, client: httpx2.AsyncClient, headers: dict[str, str]
    ) -> None:
        response = await client.get("/customers/me", headers=headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="favorites"')

    async def test_that_are_missing_are_401(self, client: httpx2.AsyncClient) -> None:
        response = await client.get("/customers/me")
        assert code(response) == (401, "missing_credentials")
        assert "error=" not in response.headers["WWW-Authenticate"]

    async def test_are_checked_before_anything_else(self, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/customers/nonsense")).status_code == 401
        assert (await client.patch("/customers/me", json={"x": 1})).status_code == 401


class TestRefresh:
    @pytest.fixture
    async def signed_in(self, client: httpx2.AsyncClient, service: Service) -> httpx2.AsyncClient:
        customer = await service.customer()
        body = {"email": customer.email.value, "password": PASSWORD}
        assert (await client.post("/auth/sign-in", json=body)).status_code == 200
        return client

    async def test_rotates_both_tokens(
        self, signed_in: httpx2.AsyncClient, service: Service
    ) -> None:
        before = dict(signed_in.cookies)
        service.clock.advance(make.MINUTE)
        response = await signed_in.post("/auth/refresh")
        assert response.status_code == 200
        assert set(response.json()) == {"access_token", "token_type", "expires_in", "customer"}
        for name in ("access_token", "refresh_token"):
            assert signed_in.cookies[name] != before[name]
        assert (await signed_in.get("/customers/me")).status_code == 200

    async def test_accepts_the_token_in_the_body(self, signed_in: httpx2.AsyncClient) -> None:
        token = signed_in.cookies["refresh_token"]
        signed_in.cookies.clear()
        response = await signed_in.post("/auth/refresh", json={"refresh_token": token})
        assert response.status_code == 200

    async def test_refuses_two_different_tokens(self, signed_in: httpx2.AsyncClient) -> None:
        response = await signed_in.post("/auth/refresh", json={"refresh_token": "another"})
        assert code(response) == (401, "invalid_refresh_token")

    @pytest.mark.parametrize("token", ["", "x", "é" * 1000])
    async def test_refuses_malformed_tokens(self, client: httpx2.AsyncClient, token: str) -> None:
        response = await client.post("/auth/refresh", json={"refresh_token": token})
        assert code(response) == (401, "invalid_refresh_token")

    async def test_needs_a_token(self, client: httpx2.AsyncClient) -> None:
        assert code(await client.post("/auth/refresh")) == (401, "missing_credentials")

    async def test_ends_the_session_on_reuse(
        self, signed_in: httpx2.AsyncClient, service: Service
    ) -> None:
        stolen = signed_in.cookies["refresh_token"]
        await signed_in.post("/auth/refresh")
        service.clock.advance(make.MINUTE)
        thief = await signed_in.post(
            "/auth/refresh",
            headers={"Cookie": f"refresh_token={stolen}"},
        )
        assert code(thief) == (401, "invalid_refresh_token")
        assert (await signed_in.get("/customers/me")).status_code == 401


class TestSignOut:
    async def test_ends_access_and_deletes_the_cookies(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        customer = await service.customer()
        body = {"email": customer.email.value, "password": PASSWORD}
        token = (await client.post("/auth/sign-in", json=body)).json()["access_token"]
        response = await client.post("/auth/sign-out")
        assert response.status_code == 204
        assert response.content == b""
        set_cookies = cookies(response)
        assert {name: cookie["path"] for name, cookie in set_cookies.items()} == {
            "access_token": "/",
            "refresh_token": "/auth",
        }
        assert {cookie["max-age"] for cookie in set_cookies.values()} == {"0"}
        again = await client.get("/customers/me", headers={"Authorization": f"Bearer {token}"})
        assert code(again) == (401, "invalid_token")

    async def test_is_not_for_api_keys(self, client: httpx2.AsyncClient, key: Headers) -> None:
        response = await client.post("/auth/sign-out", headers=key)
        assert code(response) == (403, "customer_only")


class TestToken:
    async def test_represents_the_key(self, client: httpx2.AsyncClient, service: Service) -> None:
        key = await api_key(service, Scope.CUSTOMERS_READ)
        by_header = await client.post("/auth/token", headers=key)
        by_body = await client.post("/auth/token", json={"api_key": key[API_KEY]})
        for response in (by_header, by_body):
            body = response.json()
            assert (body["token_type"], body["scope"]) == ("Bearer", "customers:read")
            headers = {"Authorization": f"Bearer {body['access_token']}"}
            assert (await client.get("/customers", headers=headers)).status_code == 200
            refused = await client.post("/customers", headers=headers, json={})
            assert code(refused) == (403, "insufficient_scope")

    async def test_needs_a_key(self, client: httpx2.AsyncClient, key: Headers) -> None:
        assert code(await client.post("/auth/token")) == (401, "missing_credentials")
        wrong = await client.post("/auth/token", json={"api_key": "aiq_\x1b"})
        assert code(wrong) == (401, "invalid_api_key")
        two = await client.post("/auth/token", json={"api_key": "another"}, headers=key)
        assert code(two) == (401, "invalid_api_key")
