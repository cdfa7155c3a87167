from collections.abc import MutableMapping
from typing import Any

import httpx2
import pytest
import structlog
from starlette.requests import Request
from structlog.testing import capture_logs

from app.domain.customer import Role
from tests.double.service import PASSWORD, Service
from tests.http.client import Headers, bearer, build, connect

Log = list[MutableMapping[str, Any]]


def access(logs: Log) -> MutableMapping[str, Any]:
    """Return the access log line of the only request."""
    [line] = [each for each in logs if each["event"] == "http_request"]
    return line


class TestAccessLog:
    async def test_is_one_line(self, client: httpx2.AsyncClient, service: Service) -> None:
        customer = await service.customer()
        me = await bearer(client, customer)
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            await client.get(
                "/customers/me/favorites?q=private", headers={**me, "X-Request-ID": "mine"}
            )
        line = dict(access(logs))
        assert line.pop("duration_ms") >= 0
        assert line == {
            "event": "http_request",
            "log_level": "info",
            "method": "GET",
            "route": "/customers/{id}/favorites",
            "status": 200,
            "client_ip": "192.0.2.1",
            "customer_id": str(customer.id),
            "request_id": "mine",
        }

    @pytest.mark.parametrize(
        ("method", "path", "route"),
        [
            ("GET", "/nowhere/ana@example.com", None),
            ("HEAD", "/products", "/products"),
            ("POST", "/auth/sign-in", "/auth/sign-in"),
            ("POST", "/auth/sign-out", "/auth/sign-out"),
            ("GET", "/customers?email=ana@example.com", "/customers"),
            ("GET", "/customers/x/sessions", "/customers/{id}/sessions"),
        ],
    )
    async def test_names_the_route(
        self, client: httpx2.AsyncClient, method: str, path: str, route: str | None
    ) -> None:
        with capture_logs() as logs:
            await client.request(method, path)
        line = access(logs)
        assert (line["method"], line["route"]) == (method, route)
        assert "ana@example.com" not in str(logs)

    async def test_names_the_key(self, client: httpx2.AsyncClient, key: Headers) -> None:
        with capture_logs() as logs:
            await client.get("/customers", headers=key)
        assert access(logs)["key_id"] in key["x-aiqfome-api-key"]
        assert key["x-aiqfome-api-key"] not in str(logs)

    async def test_contains_no_secrets(self, client: httpx2.AsyncClient, service: Service) -> None:
        customer = await service.customer()
        body = {"email": customer.email.value, "password": PASSWORD}
        with capture_logs() as logs:
            token = (await client.post("/auth/sign-in", json=body)).json()["access_token"]
        for secret in (customer.email.value, PASSWORD, token):
            assert secret not in str(logs)


class TestErrors:
    async def test_are_logged_once_with_their_stack(self, service: Service) -> None:
        api = build(service)

        @api.get("/broken")
        async def broken(request: Request) -> None:
            raise LookupError(request.method)

        async with connect(api) as client:
            with capture_logs() as logs:
                await client.get("/broken")
        errors = [each for each in logs if each["log_level"] == "error"]
        assert [(each["event"], each["exc_info"]) for each in errors] == [
            ("unhandled_error", True)
        ]
        assert access(logs)["status"] == 500


class TestAdminActions:
    async def test_on_other_customers_are_logged(
        self, client: httpx2.AsyncClient, service: Service
    ) -> None:
        admin, customer = await service.customer(role=Role.ADMIN), await service.customer()
        headers = await bearer(client, admin)
        calls = [
            ("POST", "/customers/{id}/favorites/batch"),
            ("POST", "/customers/{id}/favorites/import"),
            ("POST", "/customers/{id}/favorites/{product_id}/restore"),
            ("DELETE", "/customers/{id}"),
        ]
        with capture_logs() as logs:
            for method, route in calls:
                path = route.format(id=customer.id, product_id=5)
                await client.request(method, path, headers=headers)
            await client.get("/customers/me", headers=headers)
        lines = [each for each in logs if each["event"] == "admin_action"]
        assert [(each["method"], each["route"]) for each in lines] == calls
        assert {each["admin_id"] for each in lines} == {str(admin.id)}
        assert {each["customer_id"] for each in lines} == {str(customer.id)}
