import httpx2
import pytest

from app.domain.outcome import CatalogUnavailable
from app.domain.product import ProductId
from app.infra.fakestore.options import CatalogOptions
from tests.integration.fakestore.upstream import (
    Scripted,
    answer,
    catalog_answered_by,
    product_json,
)
from tests.recorder import SpanRecorder, failure, parent_id


class TestCalls:
    async def test_have_a_span_with_a_child_for_each_try(self) -> None:
        recorder = SpanRecorder()
        upstream = Scripted(
            answer(status=503), httpx2.ConnectError("to ana:secret"), answer(product_json())
        )
        catalog = catalog_answered_by(
            upstream, tracer=recorder.tracer, base_url="http://ana:secret@catalog.test/v1"
        )
        assert await catalog.find(ProductId(5)) is not None
        *tries, call = recorder.spans
        assert [(span.name, failure(span)) for span in tries] == [
            ("GET", "server_error"),
            ("GET", "transport"),
            ("GET", None),
        ]
        assert {parent_id(span) for span in tries} == {call.context.span_id}
        assert (call.name, dict(call.attributes or {})) == ("catalog find", {"outcome": "found"})
        assert dict(tries[0].attributes or {}) == {
            "http.request.method": "GET",
            "server.address": "catalog.test",
            "server.port": 80,
            "url.path": "/products/5",
            "http.response.status_code": 503,
            "error.type": "server_error",
        }
        assert "secret" not in recorder.everything()

    async def test_do_not_propagate_the_trace_to_the_catalog(self) -> None:
        recorder, upstream = SpanRecorder(), Scripted(answer(product_json()))
        with recorder.tracer.start_as_current_span("request"):
            await catalog_answered_by(upstream, tracer=recorder.tracer, request_id="r1").find(
                ProductId(5)
            )
        [request] = upstream.requests
        assert request.headers["x-request-id"] == "r1"
        assert not {"traceparent", "tracestate", "baggage"} & set(request.headers)

    async def test_that_are_refused_have_no_request_span(self) -> None:
        recorder, upstream = SpanRecorder(), Scripted(answer(status=500))
        options = CatalogOptions(breaker_min_calls=1, max_tries=1)
        catalog = catalog_answered_by(upstream, tracer=recorder.tracer, options=options)
        for _ in range(2):
            with pytest.raises(CatalogUnavailable):
                await catalog.list_all()
        assert [(span.name, failure(span)) for span in recorder.spans] == [
            ("GET", "server_error"),
            ("catalog list", "server_error"),
            ("catalog list", "circuit_open"),
        ]
