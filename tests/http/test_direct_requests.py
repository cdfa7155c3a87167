"""Requests to direct routes: validation, header fields, and what is observed of them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.double.service import Service
from tests.http.client import bearer, build, connect
from tests.http.world import LIST, World, favorites_world, problem


@pytest.fixture
async def world(service: Service) -> AsyncIterator[World]:
    async with favorites_world(service) as world:
        yield world


INVALID = [
    ("/products?limit=0", "/query/limit"),
    ("/products/x", "/path/product_id"),
    (f"{LIST}?limit=0", "/query/limit"),
    (f"{LIST}?limit=101", "/query/limit"),
    (f"{LIST}?limit=1_0", "/query/limit"),
    (f"{LIST}?sort=x", "/query/sort"),
    (f"{LIST}?q=" + "x" * 201, "/query/q"),
    (f"{LIST}/0", "/path/product_id"),
    (f"{LIST}/4294967296", "/path/product_id"),
    (f"{LIST}/contains", "/query/product_ids"),
    (f"{LIST}/contains?product_ids=", "/query/product_ids"),
    (f"{LIST}/contains?product_ids=1,", "/query/product_ids"),
    (f"{LIST}/contains?product_ids=" + ",".join(["1"] * 101), "/query/product_ids"),
    (f"{LIST}/changes?limit=0", "/query/limit"),
    ("/customers/me/profile?limit=0", "/query/limit"),
    ("/customers/x/favorites", "/path/id"),
    ("/customers/%6de/favorites?limit=0", "/query/limit"),
    ("/customers/x/favorites/1", "/path/id"),
    ("/customers/x/export", "/path/id"),
]


class TestInvalidRequests:
    @pytest.mark.parametrize(("path", "at"), INVALID)
    async def test_are_422_with_one_pointer_for_each_fault(
        self, world: World, path: str, at: str
    ) -> None:
        response = await world.request("GET", path)
        assert problem(response) == (422, "validation_failed")
        assert [each["pointer"] for each in response.json()["errors"]] == [at]
        several = await world.request("GET", "/customers/x/favorites?limit=0&sort=x")
        assert [each["pointer"] for each in several.json()["errors"]] == [
            "/path/id",
            "/query/limit",
            "/query/sort",
        ]

    @pytest.mark.parametrize(
        "path", [f"{LIST}?cursor=x", f"{LIST}/changes?since=x", "/products?cursor=x"]
    )
    async def test_with_a_bad_cursor_are_400(self, world: World, path: str) -> None:
        assert problem(await world.request("GET", path)) == (400, "invalid_cursor")

    @pytest.mark.parametrize(
        "path",
        [
            *[path for path, _ in INVALID if path.startswith("/customers")],
            f"{LIST}?cursor=x",
            f"{LIST}/changes?since=x",
        ],
    )
    @pytest.mark.parametrize("caller", ["ended", "anonymous", "malformed", "several"])
    async def test_are_401_without_a_session(self, world: World, path: str, caller: str) -> None:
        with capture_logs() as logs:
            response = await world.request("GET", path, caller)
        assert response.status_code == 401
        [line] = [line for line in logs if line["event"] == "http_request"]
        assert "customer_id" not in line

    async def test_of_another_customer_are_404(self, world: World) -> None:
        response = await world.request("GET", "/customers/{bia}/favorites?limit=0")
        assert problem(response) == (404, "customer_not_found")

    @pytest.mark.parametrize(
        ("method", "word", "allowed"),
        [
            ("GET", "batch", "POST"),
            ("PUT", "batch", "POST"),
            ("DELETE", "batch", "POST"),
            ("GET", "import", "POST"),
            ("PUT", "import", "POST"),
            ("PUT", "contains", "GET, HEAD"),
            ("POST", "contains", "GET, HEAD"),
            ("DELETE", "changes", "GET, HEAD"),
        ],
    )
    async def test_with_another_word_for_a_product_id_are_405(
        self, world: World, method: str, word: str, allowed: str
    ) -> None:
        for caller in ("ana", "anonymous"):
            response = await world.request(method, f"{LIST}/{word}", caller)
            assert problem(response) == (405, "method_not_allowed")
            assert response.headers["Allow"] == allowed

    @pytest.mark.parametrize("word", ["batches", "contain", "x", "import.csv"])
    async def test_with_other_text_for_a_product_id_are_422(self, world: World, word: str) -> None:
        for method in ("GET", "PUT", "POST", "DELETE"):
            response = await world.request(method, f"{LIST}/{word}")
            assert problem(response) == (422, "validation_failed")

    @pytest.mark.parametrize("path", ["/products/1/", f"{LIST}/", "/customers//favorites"])
    async def test_with_an_empty_segment_are_404(self, world: World, path: str) -> None:
        assert problem(await world.request("GET", path)) == (404, "route_not_found")


class TestHeaderFields:
    @pytest.mark.parametrize(
        ("headers", "get", "put"),
        [
            ({"Content-Length": "0"}, 200, 200),
            ({"Content-Length": "70000"}, 413, 413),
            ({"Content-Type": "text/plain"}, 200, 200),
            ({"Sec-Fetch-Site": "same-origin"}, 200, 200),
            ({"Sec-Fetch-Site": "cross-site"}, 200, 403),
            ({"Origin": "https://elsewhere.test"}, 200, 403),
            ({"Accept": "text/html"}, 200, 200),
        ],
        ids=str,
    )
    async def test_have_the_same_effect_as_for_other_routes(
        self, world: World, headers: dict[str, str], get: int, put: int
    ) -> None:
        content = b"x" * int(headers.get("Content-Length", "0"))
        for method, path, status in (
            ("GET", LIST, get),
            ("GET", f"{LIST}/1", get),
            ("GET", "/products/1", get),
            ("PUT", f"{LIST}/1", put),
        ):
            response = await world.client.request(
                method, path, headers={**world.headers["ana"], **headers}, content=content
            )
            assert response.status_code == status, path

    async def test_include_the_request_id(self, world: World) -> None:
        for path in (LIST, "/products/1", f"{LIST}?limit=0"):
            response = await world.request("GET", path, **{"X-Request-ID": "mine"})
            assert response.headers["X-Request-ID"] == "mine"


TEMPLATES = [
    ("GET", LIST, "/customers/{id}/favorites"),
    ("GET", f"{LIST}?limit=0", "/customers/{id}/favorites"),
    ("GET", "/customers/x/favorites", "/customers/{id}/favorites"),
    ("GET", f"{LIST}/1", "/customers/{id}/favorites/{product_id}"),
    ("HEAD", f"{LIST}/1", "/customers/{id}/favorites/{product_id}"),
    ("PUT", f"{LIST}/1", "/customers/{id}/favorites/{product_id}"),
    ("DELETE", f"{LIST}/1", "/customers/{id}/favorites/{product_id}"),
    ("POST", f"{LIST}/1/restore", "/customers/{id}/favorites/{product_id}/restore"),
    ("GET", f"{LIST}/contains?product_ids=1", "/customers/{id}/favorites/contains"),
    ("PUT", f"{LIST}/contains", "/customers/{id}/favorites/contains"),
    ("GET", "/products/1", "/products/{product_id}"),
    ("GET", "/products/popular", "/products/popular"),
]


class TestObservation:
    @pytest.mark.parametrize(("method", "path", "template"), TEMPLATES)
    @pytest.mark.parametrize("signed_in", [True, False])
    async def test_has_the_template_of_the_route(
        self, service: Service, method: str, path: str, template: str, *, signed_in: bool
    ) -> None:
        customer = await service.customer()
        observed: list[dict[str, Any]] = []
        async with connect(build(service, observe=lambda **seen: observed.append(seen))) as client:
            headers = await bearer(client, customer)
            observed.clear()
            with capture_logs() as logs:
                response = await client.request(
                    method, path, headers=headers if signed_in else None
                )
        [line] = [line for line in logs if line["event"] == "http_request"]
        [seen] = observed
        assert (line["method"], line["route"]) == (seen["method"], seen["route"])
        assert (line["method"], line["route"]) == (method, template)
        assert line["status"] == seen["status"] == response.status_code
        assert line.get("code") == seen["problem"]
        named = signed_in and path.startswith(("/customers/me", "/customers/x"))
        assert ("customer_id" in line) is (named and response.status_code != 405)

    async def test_of_administrators_names_the_route(self, world: World) -> None:
        with capture_logs() as logs:
            await world.request("DELETE", "/customers/{bia}/favorites/1", "admin")
        [line] = [line for line in logs if line["event"] == "admin_action"]
        assert line["customer_id"] == world.ids["bia"]
        assert (line["method"], line["route"]) == (
            "DELETE",
            "/customers/{id}/favorites/{product_id}",
        )
