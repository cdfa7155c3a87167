"""The responses of direct routes have exactly the members of the documented models."""

from typing import Any

import httpx2
import pytest

from app.domain.product import ProductId
from app.infra.http.route import DirectRoute
from tests import make
from tests.double.service import Service
from tests.http.client import bearer, build
from tests.http.expected_json import POLICY, check_members
from tests.http.test_access_matrix import MATRIX, OPERATIONS


def response_models() -> dict[str, Any]:
    """Return the documented models of direct operations by operation id."""
    return {
        route.operation_id or route.unique_id: route.response_model
        for route in build(Service()).routes
        if isinstance(route, DirectRoute) and route.response_model is not None
    }


class TestResponses:
    """Every direct operation with every status of a favorite."""

    @pytest.fixture
    def service(self) -> Service:
        service = Service(popular_min_count=1)
        service.catalog.put(*(make.product(id=number) for number in (1, 2, 5)))
        return service

    @pytest.fixture
    async def client_and_headers(
        self, service: Service, client: httpx2.AsyncClient
    ) -> tuple[httpx2.AsyncClient, dict[str, str]]:
        ana = await service.customer()
        me = await bearer(client, ana)
        service.catalog.put(*(make.product(id=number, rating=None) for number in (6, 7)))
        for number in (1, 2, 5, 6, 7):
            await client.put(f"/customers/me/favorites/{number}", headers=me)
        await client.delete("/customers/me/favorites/1", headers=me)
        service.catalog.down = True
        for number in (77, 78):
            await client.put(f"/customers/me/favorites/{number}", headers=me)
        service.catalog.down = False
        service.clock.advance(make.MINUTE)
        await service.use_cases.validate_product(product_id=ProductId(78))
        service.catalog.remove(ProductId(7))
        for _ in range(2):
            service.clock.advance(POLICY.soft_ttl + make.SECOND)
            await client.get("/customers/me/favorites", headers=me)
            await service.tasks.run()
        found = (await client.get("/customers/me/favorites", headers=me)).json()["items"]
        assert {each.get("reason", each["status"]) for each in found} == {
            "available",
            "pending",
            "not_in_catalog",
            "dropped_by_catalog",
        }
        return client, me

    @pytest.mark.parametrize("limit", [None, 1, 2])
    @pytest.mark.parametrize("operation", sorted(response_models()))
    async def test_have_the_members_of_the_documented_model(
        self,
        client_and_headers: tuple[httpx2.AsyncClient, dict[str, str]],
        key: dict[str, str],
        operation: str,
        limit: int | None,
    ) -> None:
        client, me = client_and_headers
        method, path = OPERATIONS[operation]
        for product_id in (2, 7, 77, 78):
            response = await client.request(
                method,
                path.format(id="me", product_id=product_id),
                params={**MATRIX[operation].query, **({} if limit is None else {"limit": limit})},
                headers=key if operation == "list_customers" else me,
            )
            if response.status_code < 300:
                check_members(response.text, response_models()[operation])
                assert response.json().get("items", [...])
            else:
                assert "{product_id}" in path
                assert response.status_code == 404

    def test_are_documented_by_the_model_for_every_success(self) -> None:
        for route in build(Service()).routes:
            if isinstance(route, DirectRoute):
                models = {
                    response["model"]
                    for response in route.responses.values()
                    if "model" in response
                }
                assert models <= {route.response_model}
                assert route.response_model is not None or route.status_code == 204
