"""Validation of requests, independent of their route."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message, Scope

from app.infra.http.middleware.request_id import current_request_id
from tests.double.service import Service
from tests.http.client import build, connect

JSON = {"Content-Type": "application/json"}
LIMIT = 64 * 1024


async def sign_in(client: httpx2.AsyncClient, content: bytes, **headers: str) -> httpx2.Response:
    return await client.post("/auth/sign-in", content=content, headers={**JSON, **headers})


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


class TestBody:
    @pytest.mark.parametrize(
        "content",
        [
            b"{",
            b"\xff",
            b'{"email": "a@b.test", "email": "c@d.test", "password": "x"}',
            b'{"email": NaN, "password": "x"}',
            b'{"email": Infinity, "password": "x"}',
            b'{"email": ' + b"9" * 5000 + b"}",
            b"[" * 30_000,
            b"[" * 40 + b"]" * 40,
            b'{"email":' * 40 + b"1" + b"}" * 40,
            '{"email": "a"}'.encode("utf-16"),
            b"\xef\xbb\xbf{}",
        ],
        ids=lambda content: repr(content[:24]),
    )
    async def test_that_is_not_strict_json_is_malformed(
        self, client: httpx2.AsyncClient, content: bytes
    ) -> None:
        assert code(await sign_in(client, content)) == (400, "malformed_body")

    @pytest.mark.parametrize(
        ("content", "pointer", "fault"),
        [
            (b"{}", "/email", "missing"),
            (b"", "", "missing"),
            (b"[]", "", "model_attributes_type"),
            (b"null", "", "model_attributes_type"),
            (b'{"email": "a@b.test", "password": 5}', "/password", "string_type"),
            (b'{"email": "a@b.test", "password": null}', "/password", "string_type"),
            (
                b'{"email": "a@b.test", "password": "x", "role": "admin"}',
                "/role",
                "extra_forbidden",
            ),
            (b'{"email": "a\\u0000@b.test", "password": "x"}', "/email", "string_nul"),
            (b'{"email": "\\ud800", "password": "x"}', "/email", "string_unicode"),
            (b'{"email": ["\\udc00"], "password": "x"}', "/email/0", "string_unicode"),
            (b'{"\\ud800": 1}', "", "string_unicode"),
            (b'{"email": 1e999, "password": "x"}', "/email", "string_type"),
        ],
    )
    async def test_that_violates_a_rule_is_unprocessable(
        self, client: httpx2.AsyncClient, content: bytes, pointer: str, fault: str
    ) -> None:
        response = await sign_in(client, content)
        assert code(response) == (422, "validation_failed")
        assert (pointer, fault) in [
            (each["pointer"], each["code"]) for each in response.json()["errors"]
        ]

    async def test_is_never_echoed(self, client: httpx2.AsyncClient) -> None:
        secret = "the-secret-that-must-not-come-back"
        for body in (
            {"email": [secret], "password": {"a": secret}},
            {"email": secret * 50, "password": secret * 100},
            {"name": secret, "email": secret, "password": secret},
        ):
            for path in ("/auth/sign-in", "/auth/sign-up"):
                response = await client.post(path, json=body)
                assert response.status_code == 422 or path == "/auth/sign-in"
                assert secret not in response.text

    @pytest.mark.parametrize(
        "media_type",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json; charset=latin-1",
            "application/jsonp",
            "text/json",
            "",
        ],
    )
    async def test_has_to_be_declared_as_json(
        self, client: httpx2.AsyncClient, media_type: str
    ) -> None:
        response = await client.post(
            "/auth/sign-in", content=b"{}", headers={"Content-Type": media_type}
        )
        assert code(response) == (415, "unsupported_media_type")

    async def test_may_name_its_charset(self, client: httpx2.AsyncClient) -> None:
        response = await client.post(
            "/auth/sign-in",
            content=b"{}",
            headers={"Content-Type": "Application/JSON; charset=UTF-8"},
        )
        assert response.status_code == 422

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        )
    )
    async def test_of_any_json_never_causes_a_server_error(
        self, service: Service, value: Any
    ) -> None:
        async with connect(build(service)) as client:
            for path in ("/auth/sign-up", "/auth/sign-in", "/auth/refresh", "/auth/token"):
                response = await client.post(path, content=json.dumps(value), headers=JSON)
                assert 400 <= response.status_code < 500


class TestBodySize:
    def of(self, size: int) -> bytes:
        frame = b'{"email": "a@b.test", "password": ""}'
        return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]

    async def test_up_to_the_limit_is_read(self, client: httpx2.AsyncClient) -> None:
        assert (await sign_in(client, self.of(LIMIT))).status_code == 422

    @pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT, 2 * 1024 * 1024])
    async def test_over_it_is_refused(self, client: httpx2.AsyncClient, size: int) -> None:
        assert code(await sign_in(client, self.of(size))) == (413, "body_too_large")

    @pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
    async def test_is_counted_when_it_is_chunked(
        self, client: httpx2.AsyncClient, method: str
    ) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(9):
                yield b" " * 8 * 1024

        response = await client.request(method, "/auth/sign-in", content=chunks(), headers=JSON)
        assert code(response) == (413, "body_too_large")

    async def test_far_over_it_closes_the_connection(self, client: httpx2.AsyncClient) -> None:
        read = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 1
                yield b" " * LIMIT

        response = await client.post("/auth/sign-in", content=endless(), headers=JSON)
        assert response.status_code == 413
        assert response.headers["Connection"] == "close"
        assert read < 30

    async def test_is_refused_before_it_is_sent(self, service: Service) -> None:
        requested = False

        async def receive() -> Message:
            nonlocal requested
            requested = True
            raise AssertionError("the body was requested from the client")

        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"expect", b"100-continue"), (b"content-length", b"70000")]
        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/auth/sign-in",
            "raw_path": b"/auth/sign-in",
            "query_string": b"",
            "headers": headers,
            "state": {},
        }
        await build(service)(scope, receive, send)
        assert sent[0]["status"] == 413
        assert not requested

    @pytest.mark.parametrize("length", ["9" * 5000, "99999999999999999999"])
    async def test_is_refused_if_its_declared_length_is_absurd(
        self, client: httpx2.AsyncClient, length: str
    ) -> None:
        response = await sign_in(client, b"{}", **{"Content-Length": length})
        assert response.status_code == 413


class TestTarget:
    @pytest.mark.parametrize(
        "target",
        ["/products?q=%ff", "/products?q=%00", "/products/%ff", "/products/%00", "/%ed%a0%80"],
    )
    async def test_is_utf_8_without_nul(self, client: httpx2.AsyncClient, target: str) -> None:
        assert code(await client.get(target)) == (400, "malformed_request")

    @pytest.mark.parametrize(
        "id",
        ["0", "007", "+1", "-1", "1.0", "1e3", "1_0", "٣", "2147483648", "99999999999", "x", " 1"],
    )
    async def test_names_products_by_decimal_numbers(
        self, client: httpx2.AsyncClient, id: str
    ) -> None:
        response = await client.get(f"/products/{id}")
        assert code(response) == (422, "validation_failed")
        assert response.json()["errors"] == [
            {
                "pointer": "/path/product_id",
                "detail": "A product id is a whole number from 1 to 2147483647.",
                "code": "product_id",
            }
        ]

    async def test_names_products_up_to_32_bits(self, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/products/2147483647")).status_code == 404

    @pytest.mark.parametrize(
        "limit", ["0", "-1", "101", "x", "1.0", "1_0", "+1", "\u0663", "9" * 5000, ""]
    )
    async def test_bounds_limits(self, client: httpx2.AsyncClient, limit: str) -> None:
        response = await client.get("/products", params={"limit": limit})
        assert code(response) == (422, "validation_failed")
        assert response.json()["errors"][0]["pointer"] == "/query/limit"


class TestRequestId:
    @pytest.mark.parametrize("id", ["a", "A.b_c-9", "x" * 128])
    async def test_of_the_client_is_used(self, client: httpx2.AsyncClient, id: str) -> None:
        response = await client.get("/health/live", headers={"X-Request-ID": id})
        assert response.headers["X-Request-ID"] == id

    @pytest.mark.parametrize("id", ["", "x" * 129, "a b", "a/b", "\x1b[31m", "é", "a,b"])
    async def test_is_replaced_if_it_is_not_valid(
        self, client: httpx2.AsyncClient, id: str
    ) -> None:
        response = await client.get("/nowhere", headers={b"X-Request-ID": id.encode("latin-1")})
        assert response.headers["X-Request-ID"] not in ("", id)
        assert response.json()["request_id"] == response.headers["X-Request-ID"]

    async def test_is_replaced_if_there_are_two(self, client: httpx2.AsyncClient) -> None:
        headers = [("X-Request-ID", "one"), ("X-Request-ID", "two")]
        response = await client.get("/health/live", headers=headers)
        assert response.headers["X-Request-ID"] not in ("one", "two", "one, two")

    async def test_is_available_during_the_request(self, service: Service) -> None:
        seen = []

        async def ready() -> None:
            seen.append(current_request_id())

        async with connect(build(service, ready=ready)) as client:
            await client.get("/health/ready", headers={"X-Request-ID": "mine"})
        assert seen == ["mine"]
        assert current_request_id() is None
