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
from tests.recorder import RecordingTracer, failure, parent_id

ELSEWHERE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def tracer() -> RecordingTracer:
    return RecordingTracer()


@pytest.fixture
async def client(service: Service, tracer: RecordingTracer) -> AsyncIterator[httpx2.AsyncClient]:
    async with connect(build(service, tracer=tracer)) as client:
        yield client


class TestRequests:
    async def test_say_the_route_and_nothing_of_the_target(
        self, client: httpx2.AsyncClient, key: Headers, tracer: RecordingTracer
    ) -> None:
        await client.get("/customers?email=ana@example.com", headers={**key, "User-Agent": "me/1"})
        [span] = tracer.spans
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
            assert word not in tracer.everything()

    async def test_that_lead_nowhere_have_no_name(
        self, client: httpx2.AsyncClient, tracer: RecordingTracer
    ) -> None:
        await client.request("PROPFIND", "/nowhere/ana@example.com")
        [span] = tracer.spans
        assert span.name == "HTTP"
        assert dict(span.attributes or {})["http.request.method"] == "_OTHER"
        assert "ana" not in tracer.everything()
        assert "PROPFIND" not in tracer.everything()

    async def test_know_who_asked(
        self, client: httpx2.AsyncClient, service: Service, tracer: RecordingTracer
    ) -> None:
        customer = await service.customer()
        await client.get("/customers/me", headers=await bearer(client, customer))
        attributes = dict(tracer.only("GET /customers/{id}").attributes or {})
        assert attributes["customer_id"] == str(customer.id)
        assert customer.email.value not in tracer.everything()

    async def test_of_watchers_are_not_told(
        self, client: httpx2.AsyncClient, tracer: RecordingTracer
    ) -> None:
        assert (await client.get("/health/live")).status_code == 200
        assert tracer.spans == ()


class TestFailures:
    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("/customers/me", 401, "missing_credentials"),
            ("/products/99", 404, "product_not_found"),
        ],
    )
    async def test_of_clients_are_none_of_ours(
        self,
        client: httpx2.AsyncClient,
        tracer: RecordingTracer,
        path: str,
        status: int,
        code: str,
    ) -> None:
        with capture_logs() as logs:
            assert (await client.get(path)).status_code == status
        [span] = tracer.spans
        assert failure(span) is None
        assert dict(span.attributes or {})["code"] == code
        assert [line["code"] for line in logs if line["event"] == "http_request"] == [code]

    async def test_of_ours_are_marked(self, service: Service, tracer: RecordingTracer) -> None:
        api = build(service, tracer=tracer)

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
        assert failure(tracer.only("GET /broken")) == "internal_error"
        assert failure(tracer.only("GET /away")) == "storage_unavailable"
        assert "ana" not in tracer.everything()
        line = [line for line in logs if line["event"] == "http_request"][-1]
        assert (line["code"], line["reason"]) == ("storage_unavailable", "TimeoutError")


class TestCallers:
    async def test_are_linked_to_and_decide_nothing(
        self, client: httpx2.AsyncClient, tracer: RecordingTracer
    ) -> None:
        headers = {"traceparent": ELSEWHERE[:-1] + "0", "tracestate": "vendor=ana"}
        answer = await client.get("/products/1", headers=headers)
        [span] = [span for span in tracer.spans if span.name.startswith("GET /products")]
        assert parent_id(span) is None
        assert f"{span.context.trace_id:032x}" not in ELSEWHERE
        assert [f"{link.context.span_id:016x}" for link in span.links] == [ELSEWHERE[36:52]]
        assert "vendor" not in tracer.everything()
        assert "traceparent" not in json.dumps(dict(answer.headers))

    @pytest.mark.parametrize(
        "headers", [[], [("traceparent", "x")], [("traceparent", ELSEWHERE)] * 2]
    )
    async def test_that_send_no_trace_are_not(
        self,
        client: httpx2.AsyncClient,
        tracer: RecordingTracer,
        headers: list[tuple[str, str]],
    ) -> None:
        await client.get("/products/1", headers=headers)
        assert [list(span.links) for span in tracer.spans] == [[]]
