"""A collector of traces for tests: receives OTLP over HTTP."""

import gzip
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from typing_extensions import override

STOP_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpan:
    """A received span; ids are hexadecimal, `error` is None unless it failed."""

    name: str
    kind: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    started_ns: int
    ended_ns: int
    failed: bool
    attributes: dict[str, Any]

    @property
    def error(self) -> str | None:
        """The reason why it failed."""
        return self.attributes["error.type"] if self.failed else None


@dataclass(kw_only=True)
class Collector:
    """
    The received spans.

    With `refuse` it responds with 503. After `hang` it does not respond until `resume`, or until
    the collector stops.
    """

    url: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    called: threading.Event = field(default_factory=threading.Event)
    refuse: bool = False
    responding: threading.Event = field(default_factory=threading.Event)

    def hang(self) -> None:
        """Accept requests without responding."""
        self.responding.clear()

    def resume(self) -> None:
        """Respond again."""
        self.responding.set()

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """Return the spans of a trace, in the order in which they started."""
        spans = [span for span in self.spans if span.trace_id == trace_id]
        return sorted(spans, key=lambda span: span.started_ns)

    def receive(self, body: bytes) -> None:
        """Parse the body of a request."""
        self.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_received(span, service=service) for span in scope.spans]


@contextmanager
def collecting() -> Generator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()
    collector.resume()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.called.set()
            if not collector.responding.wait(STOP_TIMEOUT_S) or collector.refuse:
                self.send_response(503)
            elif self.path != "/v1/traces" or self.headers["Content-Encoding"] != "gzip":
                self.send_response(404)
            else:
                collector.receive(gzip.decompress(body))
                self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        @override
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # The client closed the connection after its timeout.

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        collector.resume()
        server.shutdown()
        thread.join()
        server.server_close()


def _received(span: trace_pb2.Span, *, service: str) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes=_values(span.attributes),
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    value: AnyValue = pair.value
    return getattr(value, value.WhichOneof("value") or "string_value")
