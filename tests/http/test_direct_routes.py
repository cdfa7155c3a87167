"""Direct routes: the same responses for every variant of a request, and the same as others."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from app.domain.access import CustomerPrincipal, Scope
from app.domain.customer import Role
from app.domain.session import SessionId
from app.infra.http.dispatch import Dispatch
from app.infra.http.middleware.error_boundary import ErrorBoundary
from app.infra.http.middleware.request_context import RequestContextMiddleware
from tests.double.service import Service
from tests.http.client import API_KEY, Headers, api_key, bearer, build, connect

LIST = "/customers/me/favorites"
PENDING = 77
UNKNOWN = 999

READS = [
    LIST,
    f"{LIST}?limit=2",
    f"{LIST}?limit=4",
    f"{LIST}?sort=price",
    f"{LIST}?q=chain&category=jewelery",
    f"{LIST}?unknown=1",
    f"{LIST}/1",
    f"{LIST}/{PENDING}",
    f"{LIST}/contains?product_ids=1,2,3,77",
    f"{LIST}/contains?product_ids=2,1,2",
    f"{LIST}/contains?product_ids=1%2C2",
    f"{LIST}/changes",
    f"{LIST}/changes?limit=1",
    "/customers/me/profile",
    "/customers/me/profile?limit=1",
]
TAGGED = [path for path in READS if "changes" not in path]


@dataclass(frozen=True, kw_only=True)
class World:
    """A service with customers; Ana has four favorites, one of them pending."""

    service: Service
    client: httpx2.AsyncClient
    ids: Mapping[str, str]
    headers: Mapping[str, Headers]

    async def request(
        self, method: str, path: str, caller: str = "ana", **headers: str
    ) -> httpx2.Response:
        path = path.format(**self.ids)
        return await self.client.request(method, path, headers={**self.headers[caller], **headers})

    def by_id(self, path: str, name: str = "ana") -> str:
        """Return the path with the UUID of a customer instead of `me`."""
        return path.replace("/me/", f"/{self.ids[name]}/")


@pytest.fixture
async def world(service: Service) -> AsyncIterator[World]:
    ana, bia = await service.customer(), await service.customer(name="Bia")
    async with connect(build(service)) as client:
        as_ana = await bearer(client, ana)
        ended = await bearer(client, ana)
        await client.post("/auth/sign-out", headers=ended)
        token = as_ana["Authorization"].removeprefix("Bearer ")
        headers = {
            "ana": as_ana,
            "cookie": {"Cookie": f"access_token={token}"},
            "ended": ended,
            "bia": await bearer(client, bia),
            "admin": await bearer(client, await service.customer(role=Role.ADMIN)),
            "key": await api_key(service, Scope.FAVORITES_READ, Scope.FAVORITES_WRITE),
            "other key": await api_key(service, Scope.CUSTOMERS_READ, Scope.CUSTOMERS_WRITE),
            "anonymous": {},
            "malformed": {"Authorization": "Bearer abc"},
            "several": {**as_ana, API_KEY: "aiq_x_" + "0" * 64},
        }
        for number in (1, 2, 5):
            await client.put(f"{LIST}/{number}", headers=as_ana)
        service.catalog.down = True
        await client.put(f"{LIST}/{PENDING}", headers=as_ana)
        service.catalog.down = False
        # Fill the cache: the list of the catalog, and a product that does not exist.
        await client.get("/products")
        await client.get(f"/products/{UNKNOWN}")
        ids = {"ana": str(ana.id), "bia": str(bia.id), "ANA": str(ana.id).upper()}
        yield World(service=service, client=client, ids=ids, headers=headers)


def problem(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def without_request_id(response: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "x-request-id"}


class TestCallers:
    @pytest.mark.parametrize("path", READS)
    async def test_that_may_read_get_the_same_response(self, world: World, path: str) -> None:
        expected = await world.request("GET", path)
        assert expected.status_code == 200
        by_cookie = await world.request("GET", path, "cookie")
        assert by_cookie.content == expected.content
        assert without_request_id(by_cookie) == without_request_id(expected)

        by_id = await world.request("GET", world.by_id(path))
        assert by_id.status_code == 200
        assert by_id.content == expected.content.replace(b"/me/", f"/{world.ids['ana']}/".encode())
        for caller in ("admin", "key"):
            response = await world.request("GET", world.by_id(path), caller)
            assert response.content == by_id.content, caller
            assert without_request_id(response) == without_request_id(by_id), caller

    @pytest.mark.parametrize("path", READS)
    async def test_may_write_their_uuid_in_capitals(self, world: World, path: str) -> None:
        capitals = await world.request("GET", world.by_id(path, "ANA"))
        assert capitals.status_code == 200
        small = await world.request("GET", world.by_id(path))
        assert capitals.text.replace(world.ids["ANA"], world.ids["ana"]) == small.text

    @pytest.mark.parametrize("path", READS)
    @pytest.mark.parametrize(
        ("caller", "target", "expected"),
        [
            ("anonymous", "me", (401, "missing_credentials")),
            ("malformed", "me", (401, "invalid_token")),
            ("several", "me", (401, "invalid_token")),
            ("ended", "me", (401, "invalid_token")),
            ("ended", "ana", (401, "invalid_token")),
            ("ended", "bia", (401, "invalid_token")),
            ("ana", "bia", (404, "customer_not_found")),
            ("bia", "ana", (404, "customer_not_found")),
            ("key", "me", (403, "customer_only")),
            ("other key", "ana", (403, "insufficient_scope")),
        ],
    )
    async def test_that_may_not_read_are_refused(
        self, world: World, path: str, caller: str, target: str, expected: tuple[int, str]
    ) -> None:
        path = path if target == "me" else world.by_id(path, target)
        response = await world.request("GET", path, caller)
        assert problem(response) == expected
        assert "ETag" not in response.headers
        assert response.headers["Cache-Control"] == "no-store"

    async def test_act_on_themselves_without_a_query_for_their_session(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queries = world.service.use_cases.queries
        find_principal, checked = queries.find_principal, []

        async def record(session_id: SessionId, **options: Any) -> CustomerPrincipal | None:
            checked.append(session_id)
            return await find_principal(session_id, **options)

        monkeypatch.setattr(queries, "find_principal", record)
        for target in (LIST, world.by_id(LIST)):
            for path in READS:
                await world.request("GET", path.replace(LIST, target))
            for method in ("PUT", "POST", "DELETE"):
                await world.request(method, f"{target}/2")
        assert checked == []
        await world.request("GET", world.by_id(LIST), "admin")
        assert len(checked) == 1


class TestResponses:
    @pytest.mark.parametrize("path", TAGGED)
    async def test_have_the_header_fields_of_ordinary_routes(
        self, world: World, path: str
    ) -> None:
        ordinary = without_request_id(await world.request("GET", "/customers/me"))
        direct = without_request_id(await world.request("GET", path))
        differing = {"etag", "content-length"}
        assert {n: v for n, v in direct.items() if n not in differing} == {
            n: v for n, v in ordinary.items() if n not in differing
        }
        assert differing < set(direct)

    @pytest.mark.parametrize(
        "path",
        [
            *READS,
            "/products/1",
            "/products?limit=1",
            "/products/popular",
            "/customers?limit=1",
            f"{LIST}?limit=0",
            f"{LIST}/{UNKNOWN}",
            "/customers/{bia}/favorites",
            f"/products/{UNKNOWN}",
            "/nowhere",
        ],
    )
    @pytest.mark.parametrize("caller", ["ana", "admin", "anonymous", "ended"])
    async def test_to_head_are_those_to_get_without_content(
        self, world: World, path: str, caller: str
    ) -> None:
        get = await world.request("GET", path, caller, **{"X-Request-ID": "same"})
        head = await world.request("HEAD", path, caller, **{"X-Request-ID": "same"})
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers == get.headers

    @pytest.mark.parametrize("path", TAGGED)
    async def test_are_304_for_a_matching_tag(self, world: World, path: str) -> None:
        tag = (await world.request("GET", path)).headers["ETag"]
        for field, status in (
            (tag, 304),
            (tag.removeprefix("W/"), 304),
            (f'"y", {tag}', 304),
            ("*", 304),
            ('"y"', 200),
            ("y", 200),
            ("", 200),
        ):
            response = await world.request("GET", path, **{"If-None-Match": field})
            assert response.status_code == status, field
            assert response.headers["ETag"] == tag
            if status == 304:
                assert response.content == b""
                assert {"content-type", "content-length"}.isdisjoint(response.headers)

    @pytest.mark.parametrize("tag", ["*", '"y"'])
    async def test_without_a_tag_ignore_if_none_match(self, world: World, tag: str) -> None:
        for path in ("/products/1", f"{LIST}/changes"):
            assert (await world.request("GET", path, **{"If-None-Match": tag})).status_code == 200
        missing = await world.request("GET", f"{LIST}/{UNKNOWN}", **{"If-None-Match": tag})
        assert problem(missing) == (404, "favorite_not_found")

    @pytest.mark.parametrize(
        ("query", "count"),
        [("limit=02", 2), ("limit=2&limit=3", 3), ("limit=%32", 2), ("limit=3&x=%20&y", 3)],
    )
    async def test_use_the_query_as_other_routes_do(
        self, world: World, query: str, count: int
    ) -> None:
        body = (await world.request("GET", f"{LIST}?{query}")).json()
        assert len(body["items"]) == count
        assert (await world.request("GET", body["next"])).status_code == 200


class TestWrites:
    @pytest.mark.parametrize("method", ["PUT", "POST"])
    @pytest.mark.parametrize(
        ("product_id", "status"), [("1", 200), ("77", 202), ("999", 404), ("0", 422), ("x", 422)]
    )
    async def test_have_a_status_for_each_outcome(
        self, world: World, method: str, product_id: str, status: int
    ) -> None:
        for path in (f"{LIST}/{product_id}", world.by_id(f"{LIST}/{product_id}", "ANA")):
            response = await world.request(method, path)
            assert response.status_code == status
            if status < 300:
                location = f"/customers/{world.ids['ana']}/favorites/{product_id}"
                assert response.headers["Location"] == location
                assert response.json() == (await world.request("GET", path)).json()

    @pytest.mark.parametrize("caller", ["bia", "admin", "key"])
    async def test_are_repeatable_by_all_callers(self, world: World, caller: str) -> None:
        path = f"{LIST}/1" if caller == "bia" else "/customers/{bia}/favorites/1"
        statuses = [
            (await world.request(method, path, caller)).status_code
            for method in ("PUT", "POST", "DELETE", "DELETE", "PUT")
        ]
        assert statuses == [201, 200, 204, 204, 201]
        removed = await world.request("DELETE", path, caller)
        assert removed.content == b""
        assert "content-type" not in removed.headers
        assert (await world.request("POST", f"{path}/restore", caller)).status_code == 200

    @pytest.mark.parametrize(
        ("caller", "path", "expected"),
        [
            ("anonymous", f"{LIST}/5", (401, "missing_credentials")),
            ("malformed", f"{LIST}/5", (401, "invalid_token")),
            ("several", f"{LIST}/5", (401, "invalid_token")),
            ("ended", f"{LIST}/5", (401, "invalid_token")),
            ("ana", "/customers/{bia}/favorites/5", (404, "customer_not_found")),
            ("other key", "/customers/{ana}/favorites/5", (403, "insufficient_scope")),
        ],
    )
    async def test_by_others_are_refused(
        self, world: World, caller: str, path: str, expected: tuple[int, str]
    ) -> None:
        for method, url in (
            ("PUT", path),
            ("POST", path),
            ("DELETE", path),
            ("POST", f"{path}/restore"),
        ):
            assert problem(await world.request(method, url, caller)) == expected
        assert (await world.request("GET", f"{LIST}/5")).status_code == 200


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


class TestMiddleware:
    def test_is_the_same_for_all_routes(self, service: Service) -> None:
        classes: list[object] = [each.cls for each in build(service).user_middleware]
        assert classes[-1] is Dispatch
        assert classes.index(ErrorBoundary) < classes.index(Dispatch)

    def test_has_none_of_the_framework_around_it(self, service: Service) -> None:
        assert isinstance(build(service).build_middleware_stack(), RequestContextMiddleware)
