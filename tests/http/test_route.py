"""Routers and routes: what they accept, and which mistakes they detect."""

from typing import Annotated

import httpx2
import pytest
from fastapi import Body, Cookie, Depends, Header, Query
from structlog.testing import capture_logs

from app.domain.access import Scope
from app.domain.customer import Role
from app.domain.outcome import FavoritesFull
from app.infra.http import api as api_module
from app.infra.http.access import CustomerAccess, CustomerPath
from app.infra.http.paging import LimitIn
from app.infra.http.route import Call, Reply, Router
from app.infra.http.router import auth
from tests.double.service import Service
from tests.http.client import Headers, api_key, bearer, build, connect

ACCESS = CustomerAccess(read=Scope.FAVORITES_READ, write=Scope.FAVORITES_WRITE)


def customer_router() -> Router:
    return Router(prefix="/customers/{id}", tags=[], access=ACCESS)


async def request(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    router: Router,
    path: str,
    headers: Headers | None = None,
) -> httpx2.Response:
    """Send a GET request to an application with a router besides those of `auth`."""
    kept = [route for each in auth.routers for route in each.routes]
    monkeypatch.setattr(api_module, "_ROUTES", [*router.routes, *kept])
    async with connect(build(service)) as client:
        return await client.get(path, headers=headers)


@pytest.fixture
async def me(service: Service) -> Headers:
    ana = await service.customer()
    async with connect(build(service)) as client:
        return await bearer(client, ana)


@pytest.fixture
async def ended(service: Service) -> Headers:
    """Return the credentials of a session that has ended."""
    ana = await service.customer()
    async with connect(build(service)) as client:
        headers = await bearer(client, ana)
        await client.post("/auth/sign-out", headers=headers)
        return headers


class TestSessionCheck:
    async def test_that_an_endpoint_forgets_is_an_error(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, me: Headers
    ) -> None:
        router = customer_router()

        @router.get("/careless")
        async def careless(call: Call) -> Reply:
            return Reply(body=f'"{call.customer_id}"')

        admin = await service.customer(role=Role.ADMIN)
        with capture_logs() as logs:
            response = await request(service, monkeypatch, router, "/customers/me/careless", me)
        assert response.status_code == 500
        assert response.json()["code"] == "internal_error"
        [error] = [line for line in logs if line["event"] == "unhandled_error"]
        assert error["log_level"] == "error"
        # Those whose session was checked before are not affected.
        async with connect(build(service)) as client:
            as_admin = await bearer(client, admin)
        other = await service.customer()
        for headers in (as_admin, await api_key(service, *Scope)):
            path = f"/customers/{other.id}/careless"
            response = await request(service, monkeypatch, router, path, headers)
            assert (response.status_code, response.json()) == (200, str(other.id))

    async def test_of_its_own_refuses_ended_sessions(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, me: Headers, ended: Headers
    ) -> None:
        router = customer_router()

        @router.get("/careful")
        async def careful(call: Call) -> Reply:
            await call.check_session()
            await call.check_session()
            return Reply(body="[]")

        path = "/customers/me/careful"
        assert (await request(service, monkeypatch, router, path, me)).status_code == 200
        response = await request(service, monkeypatch, router, path, ended)
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")

    async def test_precedes_other_refusals(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, me: Headers, ended: Headers
    ) -> None:
        router = customer_router()

        @router.get("/full")
        async def full(call: Call) -> Reply:
            raise FavoritesFull("The list is full.")

        path = "/customers/me/full"
        response = await request(service, monkeypatch, router, path, me)
        assert response.json()["code"] == "favorites_full"
        with capture_logs() as logs:
            response = await request(service, monkeypatch, router, path, ended)
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
        [line] = [line for line in logs if line["event"] == "http_request"]
        assert "customer_id" not in line


class TestDefinition:
    def test_of_a_customer_route_without_access_is_an_error(self) -> None:
        async def direct(call: Call) -> Reply:
            return Reply()

        async def ordinary(id: CustomerPath) -> None:
            return None

        for endpoint in (direct, ordinary):
            for prefix, path in (("/customers/{id}", "/x"), ("/customers", "/{id}/x")):
                router = Router(prefix=prefix, tags=[])
                with pytest.raises(ValueError, match="needs an access"):
                    router.add_api_route(path, endpoint)

    def test_of_a_direct_route_that_would_ignore_a_parameter_is_an_error(self) -> None:
        async def with_header(call: Call, field: Annotated[str | None, Header()] = None) -> Reply:
            return Reply()

        async def with_cookie(call: Call, field: Annotated[str | None, Cookie()] = None) -> Reply:
            return Reply()

        async def with_body(call: Call, field: Annotated[str, Body()]) -> Reply:
            return Reply()

        router = Router(prefix="/public", tags=[])
        for endpoint in (with_header, with_cookie, with_body):
            with pytest.raises(ValueError, match="Direct endpoints"):
                router.add_api_route("/x", endpoint, methods=["POST"])

    async def test_may_have_dependencies(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, me: Headers
    ) -> None:
        router = customer_router()

        async def sort_key(by: str = "name") -> str:
            return by.upper()

        @router.get("/sorted/{word}")
        async def sorted_by(
            call: Call,
            word: str,
            query: Annotated[LimitIn, Query()],
            key: Annotated[str, Depends(sort_key)],
        ) -> Reply:
            await call.check_session()
            return Reply(body=f'["{word}",{query.limit},"{key}"]')

        path = "/customers/me/sorted/a?limit=7&by=price"
        response = await request(service, monkeypatch, router, path, me)
        assert response.json() == ["a", 7, "PRICE"]
        response = await request(service, monkeypatch, router, path.replace("7", "0"), me)
        assert response.status_code == 422
        assert [each["pointer"] for each in response.json()["errors"]] == ["/query/limit"]
        assert (await request(service, monkeypatch, router, path)).status_code == 401

    async def test_without_access_is_public(
        self, service: Service, monkeypatch: pytest.MonkeyPatch, ended: Headers
    ) -> None:
        router = Router(prefix="/public", tags=[])

        @router.get("/x")
        async def read(call: Call) -> Reply:
            return Reply(body="[]")

        for headers in ({}, ended):
            response = await request(service, monkeypatch, router, "/public/x", headers)
            assert response.status_code == 200
