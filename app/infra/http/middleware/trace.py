"""A trace for each request."""

from opentelemetry.trace import SpanKind, Tracer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.access import CustomerPrincipal, ServicePrincipal
from app.infra.http.middleware.access_log import route_template
from app.infra.http.middleware.request_id import request_id_of
from app.infra.http.problem import problem_log_fields
from app.infra.observability.tracing.spans import context_of, links_to, mark_failed, start_span

HEADER = "traceparent"

# RFC 9110, section 9.1, and RFC 5789. Any other method is arbitrary text from the client.
_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
_UNTRACED = "/health/"


class Trace:
    """
    Record a span for every request except health checks.

    A request starts a trace of its own, linked to the caller's trace if it sends one: a caller
    must not choose our trace ids or which traces are kept. The span contains the route template;
    path and query are the client's text and are not recorded.
    """

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        name = "HTTP" if method == "_OTHER" else method
        with start_span(
            self._tracer,
            name,
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
            },
            links=links_to(context_of(_traceparent(scope))),
        ) as span:
            try:
                await self._app(scope, receive, send)
            finally:
                route = route_template(scope)
                status: int | None = scope["state"].get("status")
                if route is not None:
                    span.update_name(f"{name} {route}")
                problem = problem_log_fields(scope)
                span.set_attributes(
                    {
                        **_outcome(scope, route=route, status=status),
                        "request_id": request_id_of(scope),
                        **problem,
                    }
                )
                if status is None or status >= 500:
                    default = "no_answer" if status is None else str(status)
                    mark_failed(span, problem.get("code", default))


def _traceparent(scope: Scope) -> str | None:
    sent = Headers(scope=scope).getlist(HEADER)
    return sent[0] if len(sent) == 1 else None


def _outcome(scope: Scope, *, route: str | None, status: int | None) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {}
    if route is not None:
        attributes["http.route"] = route
    if status is not None:
        attributes["http.response.status_code"] = status
    # The same names as in log lines.
    match scope["state"].get("principal"):
        case CustomerPrincipal() as customer:
            attributes["customer_id"] = str(customer.customer_id)
        case ServicePrincipal() as service:
            attributes["key_id"] = service.key_id
        case _:
            pass
    return attributes
