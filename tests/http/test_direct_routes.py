"""Direct routes: the same responses for every caller, and the same as of other routes."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from app.domain.access import CustomerPrincipal
from app.domain.session import SessionId
from app.infra.http.dispatch import Dispatch
from app.infra.http.middleware.error_boundary import ErrorBoundary
from app.infra.http.middleware.request_context import RequestContextMiddleware
from tests.double.service import Service
from tests.http.client import build
from tests.http.world import LIST, PENDING, UNKNOWN, World, favorites_world, problem

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


@pytest.fixture
async def world(service: Service) -> AsyncIterator[World]:
    async with favorites_world(service) as world:
        yield world


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


class TestMiddleware:
    def test_is_the_same_for_all_routes(self, service: Service) -> None:
        classes: list[object] = [each.cls for each in build(service).user_middleware]
        assert classes[-1] is Dispatch
        assert classes.index(ErrorBoundary) < classes.index(Dispatch)

    def test_has_none_of_the_framework_around_it(self, service: Service) -> None:
        assert isinstance(build(service).build_middleware_stack(), RequestContextMiddleware)
