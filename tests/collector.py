"""A collector of traces, played by the tests: OTLP over HTTP, as its specification has it."""

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

END_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A span as it arrived; ids are hexadecimal, `error` is None unless it failed."""

    name: str
    kind: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    began_ns: int
    ended_ns: int
    failed: bool
    attributes: dict[str, Any]

    @property
    def error(self) -> str | None:
        """Why it failed, in one word."""
        return self.attributes["error.type"] if self.failed else None


@dataclass(kw_only=True)
class Collector:
    """
    What has arrived.

    `refuse` answers 503; `hang` answers nothing until it is cleared, or the collector ends.
    """

    url: str = ""
    spans: list[Told] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    refuse: bool = False
    going: threading.Event = field(default_factory=threading.Event)

    def hang(self) -> None:
        """Take requests from now on, and answer none."""
        self.going.clear()

    def go_on(self) -> None:
        """Answer again."""
        self.going.set()

    def trace(self, trace_id: str) -> list[Told]:
        """Return the spans of a trace, in the order in which they began."""
        spans = [span for span in self.spans if span.trace_id == trace_id]
        return sorted(spans, key=lambda span: span.began_ns)

    def take(self, body: bytes) -> None:
        """Read a request."""
        self.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_told(span, service=service) for span in scope.spans]


@contextmanager
def collecting() -> Generator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()
    collector.go_on()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.asked.set()
            if not collector.going.wait(END_S) or collector.refuse:
                self.send_response(503)
            elif self.path != "/v1/traces" or self.headers["Content-Encoding"] != "gzip":
                self.send_response(404)
            else:
                collector.take(gzip.decompress(body))
                self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        @override
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # who gave up waiting for us has closed its connection

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        collector.go_on()
        server.shutdown()
        thread.join()
        server.server_close()


def _told(span: trace_pb2.Span, *, service: str) -> Told:
    return Told(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes=_values(span.attributes),
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    value: AnyValue = pair.value
    return getattr(value, value.WhichOneof("value") or "string_value")
