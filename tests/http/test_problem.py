from datetime import timedelta

import httpx2
import pytest
from starlette.requests import Request

from app.domain import outcome
from app.domain.outcome import DomainError
from app.infra.http.problem import (
    STATUS,
    ProblemType,
    RequestError,
    ValidationFailed,
    concrete_problems,
    pointer,
    problem_response,
    status_of,
)
from app.infra.http.problem_page import MEANING
from tests.double.service import Service
from tests.http.client import build, connect

CONCRETE = sorted(concrete_problems(), key=lambda kind: kind.code)
SCOPE = {"type": "http", "path": "/somewhere", "state": {"request_id": "abc"}}


def example(kind: ProblemType) -> DomainError | RequestError:
    """Create an outcome of a class."""
    if kind is ValidationFailed:
        return ValidationFailed([{"pointer": "/name", "detail": "No.", "code": "missing"}])
    if issubclass(kind, outcome.Throttled | outcome.Unavailable):
        return kind("Later", retry_after=timedelta(milliseconds=1500))
    return kind("What happened this time")


class TestEveryOutcome:
    def test_is_collected(self) -> None:
        assert len(CONCRETE) > 30

    @pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: kind.code)
    def test_has_a_status_and_a_meaning(self, kind: ProblemType) -> None:
        assert 400 <= status_of(kind) < 600
        assert MEANING[kind.code]

    def test_has_a_unique_code(self) -> None:
        codes = [kind.code for kind in CONCRETE]
        assert len(set(codes)) == len(codes)
        assert set(codes) == set(MEANING)

    def test_has_a_base_class_with_a_status(self) -> None:
        families = set(DomainError.__subclasses__()) | {outcome.Throttled, outcome.Unavailable}
        assert {each for each in families if not each.__name__.startswith("_")} <= set(STATUS)

    @pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: kind.code)
    async def test_has_a_page_at_the_address_in_its_type(
        self, client: httpx2.AsyncClient, kind: ProblemType
    ) -> None:
        html = await client.get(f"/problems/{kind.code}", headers={"Accept": "text/html"})
        assert html.status_code == 200
        assert html.headers["content-type"].startswith("text/html")
        json = (await client.get(f"/problems/{kind.code}")).json()
        assert json["code"] == kind.code
        assert json["status"] == status_of(kind)


class TestIndex:
    async def test_lists_every_problem(self, client: httpx2.AsyncClient) -> None:
        items = (await client.get("/problems")).json()["items"]
        assert [each["code"] for each in items] == [kind.code for kind in CONCRETE]
        html = (await client.get("/problems", headers={"Accept": "text/html"})).text
        assert all(f'href="/problems/{kind.code}"' in html for kind in CONCRETE)


class TestProblemResponse:
    @pytest.mark.parametrize("kind", CONCRETE, ids=lambda kind: kind.code)
    def test_has_the_members_of_the_contract(self, kind: ProblemType) -> None:
        response = problem_response(SCOPE, example(kind))
        body = httpx2.Response(200, content=bytes(response.body)).json()
        assert response.headers["content-type"] == "application/problem+json"
        assert body["type"] == f"/problems/{kind.code}"
        assert body["title"] == kind.title
        assert body["status"] == response.status_code == status_of(kind)
        assert body["instance"] == "/somewhere"
        assert body["code"] == kind.code
        assert body["request_id"] == "abc"
        assert body["detail"]

    @pytest.mark.parametrize(
        ("wait", "header"),
        [
            (timedelta(0), "1"),
            (timedelta(microseconds=1), "1"),
            (timedelta(seconds=1.2), "2"),
            (timedelta(minutes=5), "300"),
        ],
    )
    def test_rounds_retry_after_up(self, wait: timedelta, header: str) -> None:
        response = problem_response(SCOPE, outcome.RateLimited("Later", retry_after=wait))
        assert response.headers["Retry-After"] == header

    @pytest.mark.parametrize(
        ("problem", "challenge"),
        [
            (outcome.MissingCredentials(""), 'Bearer realm="favorites"'),
            (outcome.InvalidCredentials(""), 'Bearer realm="favorites"'),
            (outcome.InvalidToken(""), 'Bearer realm="favorites", error="invalid_token"'),
            (
                outcome.InsufficientScope(""),
                'Bearer realm="favorites", error="insufficient_scope"',
            ),
        ],
    )
    def test_challenges(self, problem: DomainError, challenge: str) -> None:
        assert problem_response(SCOPE, problem).headers["WWW-Authenticate"] == challenge

    def test_names_the_member_of_the_body(self) -> None:
        def at(*members: str) -> object:
            scope = {**SCOPE, "state": {"request_id": "", "body_members": frozenset(members)}}
            response = problem_response(scope, outcome.WeakPassword("Too short"))
            return httpx2.Response(200, content=bytes(response.body)).json()["errors"]

        assert at("password") == [
            {"pointer": "/password", "detail": "Too short", "code": "weak_password"}
        ]
        assert at("current_password", "new_password") == [
            {"pointer": "/new_password", "detail": "Too short", "code": "weak_password"}
        ]

    def test_accepts_a_path_that_is_not_valid_utf_8(self) -> None:
        scope = {**SCOPE, "path": "/\udcff\r\n"}
        response = problem_response(scope, outcome.ProductNotFound(""))
        body = httpx2.Response(200, content=bytes(response.body)).json()
        assert body["instance"] == "/%3F%0D%0A"


class TestPointer:
    def test_escapes(self) -> None:
        assert pointer("a/b", "~", 0) == "/a~1b/~0/0"


class TestUnexpectedError:
    async def test_is_500_without_details(self, service: Service) -> None:
        api = build(service)

        @api.get("/broken")
        async def broken(request: Request) -> None:
            raise LookupError(f"secret {request.method}")

        async with connect(api) as client:
            response = await client.get("/broken", headers={"X-Request-ID": "find-me"})
        assert response.status_code == 500
        assert response.json()["code"] == "internal_error"
        assert response.json()["request_id"] == "find-me"
        assert response.headers["X-Request-ID"] == "find-me"
        assert "secret" not in response.text
        assert response.headers["X-Content-Type-Options"] == "nosniff"


class TestRoutes:
    async def test_unknown_ones_are_404(self, client: httpx2.AsyncClient) -> None:
        response = await client.get("/nowhere")
        assert (response.status_code, response.json()["code"]) == (404, "route_not_found")

    async def test_unknown_problems_are_404(self, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/problems/nonsense")).json()["code"] == "route_not_found"

    async def test_do_not_end_in_a_slash(self, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/products/")).status_code in (404, 422)
        assert (await client.get("/customers/me/")).status_code == 404

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("DELETE", "/products", "GET, HEAD"),
            ("OPTIONS", "/products", "GET, HEAD"),
            ("PUT", "/customers/me", "DELETE, GET, HEAD, PATCH"),
            ("PATCH", "/customers/me/favorites/5", "DELETE, GET, HEAD, POST, PUT"),
            ("OPTIONS", "/customers/me/favorites/contains", "GET, HEAD"),
            ("GET", "/auth/sign-in", "POST"),
            ("POST", "/docs", "GET, HEAD"),
        ],
    )
    async def test_list_all_their_methods(
        self, client: httpx2.AsyncClient, method: str, path: str, allowed: str
    ) -> None:
        response = await client.request(method, path)
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        assert response.headers["Allow"] == allowed

    async def test_answer_head_as_get_without_content(self, client: httpx2.AsyncClient) -> None:
        get, head = await client.get("/products"), await client.head("/products")
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["content-length"] == get.headers["content-length"]
