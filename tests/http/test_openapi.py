"""The OpenAPI document, and tests of every operation that it lists."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from app.domain.outcome import StorageUnavailable
from app.infra.http.openapi import operations
from app.infra.http.problem import concrete_problems, status_of
from tests.double.service import Service
from tests.http.client import build, connect

PUBLIC = {
    "sign_up",
    "sign_in",
    "refresh_session",
    "exchange_api_key",
    "list_products",
    "list_popular",
    "read_product",
    "read_price_history",
    "live",
    "ready",
}
# These accept other credentials than the rest, and are 401 without them.
OWN_CREDENTIALS = {"refresh_session", "exchange_api_key"}
SAMPLES = {
    "{id}": "00000000-0000-4000-8000-000000000001",
    "{product_id}": "5",
    "{session}": "00000000-0000-4000-8000-000000000002",
}
DOCUMENT = build(Service()).openapi()
OPERATIONS = [(method, path, each) for path, method, each in operations(DOCUMENT)]
IDS = [each["operationId"] for _, _, each in OPERATIONS]


def filled(path: str) -> str:
    for name, sample in SAMPLES.items():
        path = path.replace(name, sample)
    assert "{" not in path
    return path


class TestEveryOperation:
    def test_is_documented_once(self) -> None:
        assert len(OPERATIONS) >= 33
        assert len(set(IDS)) == len(IDS)
        assert set(IDS) >= PUBLIC | {"favorite_product", "list_favorites"}

    @pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=IDS)
    async def test_needs_credentials_unless_it_is_public(
        self, client: httpx2.AsyncClient, method: str, path: str, operation: dict[str, Any]
    ) -> None:
        response = await client.request(method, filled(path))
        if operation["operationId"] in PUBLIC - OWN_CREDENTIALS:
            assert response.status_code != 401
            assert operation["security"] == []
        else:
            assert response.status_code == 401
            assert response.json()["code"] == "missing_credentials"

    @pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=IDS)
    def test_has_a_description(self, method: str, path: str, operation: dict[str, Any]) -> None:
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"]
        assert operation["operationId"].isidentifier()

    @pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=IDS)
    def test_lists_its_problems(self, method: str, path: str, operation: dict[str, Any]) -> None:
        statuses = {kind.code: str(status_of(kind).value) for kind in concrete_problems()}
        for status, response in operation["responses"].items():
            if status >= "400":
                media = response["content"]["application/problem+json"]
                assert media["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert {statuses[code] for code in media["examples"]} == {status}

    def test_has_examples(self) -> None:
        for name, schema in DOCUMENT["components"]["schemas"].items():
            if name.endswith("In") and name not in ("RefreshIn", "TokenIn"):
                assert "examples" in str(schema), name


class TestSecuritySchemes:
    def test_name_the_configured_header(self) -> None:
        document = build(Service(), api_key_header="x-key").openapi()
        schemes = document["components"]["securitySchemes"]
        assert schemes["apiKey"] == {"type": "apiKey", "in": "header", "name": "x-key"}
        assert document["security"] == [{"cookie": []}, {"bearer": []}, {"apiKey": []}]


class TestHealth:
    async def test_is_ready_if_its_check_passes(self, service: Service) -> None:
        async def ready() -> None:
            raise StorageUnavailable("Gone", retry_after=timedelta(seconds=2))

        async with connect(build(service)) as client:
            assert (await client.get("/health/ready")).json() == {"status": "ok"}
        async with connect(build(service, ready=ready)) as client:
            live, unready = await client.get("/health/live"), await client.get("/health/ready")
        assert live.json() == {"status": "ok"}
        assert (unready.status_code, unready.json()["code"]) == (503, "storage_unavailable")
        assert unready.headers["Retry-After"] == "2"

    async def test_is_not_ready_while_the_server_drains(self, service: Service) -> None:
        async with connect(build(service), draining=True) as client:
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/health/live")).status_code == 200
