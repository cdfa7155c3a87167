"""Every request as a trace."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.application.tracer import SpanKind, Tracer
from app.domain.access import CustomerPrincipal, ServicePrincipal
from app.infra.http.middleware.access_log import route_template
from app.infra.http.middleware.request_id import request_id_of
from app.infra.http.problem import problem_told

HEADER = "traceparent"

# RFC 9110, section 9.1, and RFC 5789; anything else is a client's invention.
_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
_UNTOLD = "/health/"


class Trace:
    """
    Tell of every request, but for the questions of those who watch over the process.

    A request is a trace of its own, linked to the caller's if it comes with one: a stranger
    decides neither what is kept of us nor under which id. Of the request's target the route is
    told alone; path and query are the client's words.
    """

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(_UNTOLD):
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        name = "HTTP" if method == "_OTHER" else method
        with self._tracer.span(
            name,
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
            },
            because_of=_sent_along(scope),
        ) as span:
            try:
                await self._app(scope, receive, send)
            finally:
                route = route_template(scope)
                status: int | None = scope["state"].get("status")
                if route is not None:
                    span.rename(f"{name} {route}")
                problem = problem_told(scope)
                told = {"request_id": request_id_of(scope), **problem}
                span.note({**_outcome(scope, route=route, status=status), **told})
                if status is None or status >= 500:
                    span.fail(problem.get("code", "no_answer" if status is None else str(status)))


def _sent_along(scope: Scope) -> str | None:
    sent = Headers(scope=scope).getlist(HEADER)
    return sent[0] if len(sent) == 1 else None


def _outcome(scope: Scope, *, route: str | None, status: int | None) -> dict[str, str | int]:
    told: dict[str, str | int] = {}
    if route is not None:
        told["http.route"] = route
    if status is not None:
        told["http.response.status_code"] = status
    # By the names that log lines have.
    match scope["state"].get("principal"):
        case CustomerPrincipal() as customer:
            told["customer_id"] = str(customer.customer_id)
        case ServicePrincipal() as service:
            told["key_id"] = service.key_id
        case _:
            pass
    return told
