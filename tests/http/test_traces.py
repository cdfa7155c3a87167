import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from app.domain.outcome import StorageUnavailable
from tests import make
from tests.double.service import Service
from tests.http.client import Headers, bearer, build, connect
from tests.recorder import SpanRecorder, failure, parent_id

REMOTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def recorder() -> SpanRecorder:
    return SpanRecorder()


@pytest.fixture
async def client(service: Service, recorder: SpanRecorder) -> AsyncIterator[httpx2.AsyncClient]:
    async with connect(build(service, tracer=recorder.tracer)) as client:
        yield client


class TestRequests:
    async def test_say_the_route_and_nothing_of_the_target(
        self, client: httpx2.AsyncClient, key: Headers, recorder: SpanRecorder
    ) -> None:
        await client.get("/customers?email=ana@example.com", headers={**key, "User-Agent": "me/1"})
        [span] = recorder.spans
        attributes = dict(span.attributes or {})
        assert attributes.pop("request_id")
        assert attributes.pop("key_id")
        assert (span.name, attributes) == (
            "GET /customers",
            {
                "http.request.method": "GET",
                "http.route": "/customers",
                "http.response.status_code": 200,
                "url.scheme": "http",
                "network.protocol.version": "1.1",
            },
        )
        for word in ("ana", "example.com", "me/1", "192.0.2.1", "favorites.test", *key.values()):
            assert word not in recorder.everything()

    async def test_without_a_route_are_named_by_the_method_alone(
        self, client: httpx2.AsyncClient, recorder: SpanRecorder
    ) -> None:
        await client.request("PROPFIND", "/nowhere/ana@example.com")
        [span] = recorder.spans
        assert span.name == "HTTP"
        assert dict(span.attributes or {})["http.request.method"] == "_OTHER"
        assert "ana" not in recorder.everything()
        assert "PROPFIND" not in recorder.everything()

    async def test_contain_the_id_of_the_customer(
        self, client: httpx2.AsyncClient, service: Service, recorder: SpanRecorder
    ) -> None:
        customer = await service.customer()
        await client.get("/customers/me", headers=await bearer(client, customer))
        attributes = dict(recorder.only("GET /customers/{id}").attributes or {})
        assert attributes["customer_id"] == str(customer.id)
        assert customer.email.value not in recorder.everything()

    async def test_of_health_checks_are_not_traced(
        self, client: httpx2.AsyncClient, recorder: SpanRecorder
    ) -> None:
        assert (await client.get("/health/live")).status_code == 200
        assert recorder.spans == ()


class TestFailures:
    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("/customers/me", 401, "missing_credentials"),
            ("/products/99", 404, "product_not_found"),
        ],
    )
    async def test_of_clients_do_not_mark_the_span_as_failed(
        self,
        client: httpx2.AsyncClient,
        recorder: SpanRecorder,
        path: str,
        status: int,
        code: str,
    ) -> None:
        with capture_logs() as logs:
            assert (await client.get(path)).status_code == status
        [span] = recorder.spans
        assert failure(span) is None
        assert dict(span.attributes or {})["code"] == code
        assert [line["code"] for line in logs if line["event"] == "http_request"] == [code]

    async def test_of_the_service_mark_the_span_as_failed(
        self, service: Service, recorder: SpanRecorder
    ) -> None:
        api = build(service, tracer=recorder.tracer)

        @api.get("/broken")
        async def broken(request: Request) -> None:
            raise LookupError("ana@example.com")

        @api.get("/away")
        async def away(request: Request) -> None:
            raise StorageUnavailable("Gone", retry_after=make.SECOND) from TimeoutError("at ana")

        async with connect(api) as client:
            with capture_logs() as logs:
                assert (await client.get("/broken")).status_code == 500
                assert (await client.get("/away")).status_code == 503
        assert failure(recorder.only("GET /broken")) == "internal_error"
        assert failure(recorder.only("GET /away")) == "storage_unavailable"
        assert "ana" not in recorder.everything()
        line = [line for line in logs if line["event"] == "http_request"][-1]
        assert (line["code"], line["reason"]) == ("storage_unavailable", "TimeoutError")


class TestCallers:
    async def test_are_linked_and_do_not_become_the_parent(
        self, client: httpx2.AsyncClient, recorder: SpanRecorder
    ) -> None:
        headers = {"traceparent": REMOTE[:-1] + "0", "tracestate": "vendor=ana"}
        answer = await client.get("/products/1", headers=headers)
        [span] = [span for span in recorder.spans if span.name.startswith("GET /products")]
        assert parent_id(span) is None
        assert f"{span.context.trace_id:032x}" not in REMOTE
        assert [f"{link.context.span_id:016x}" for link in span.links] == [REMOTE[36:52]]
        assert "vendor" not in recorder.everything()
        assert "traceparent" not in json.dumps(dict(answer.headers))

    @pytest.mark.parametrize(
        "headers", [[], [("traceparent", "x")], [("traceparent", REMOTE)] * 2]
    )
    async def test_without_a_valid_traceparent_are_not_linked(
        self,
        client: httpx2.AsyncClient,
        recorder: SpanRecorder,
        headers: list[tuple[str, str]],
    ) -> None:
        await client.get("/products/1", headers=headers)
        assert [list(span.links) for span in recorder.spans] == [[]]
