"""What every request and every response has, independent of the route."""

from collections.abc import Sequence
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.http.middleware.access_log import RequestLog, log_request, route_template
from app.infra.http.middleware.client_address import Network, find_client
from app.infra.http.middleware.request_id import FIELD, RequestIdBound, choose_request_id
from app.infra.http.middleware.security_headers import security_headers
from app.infra.http.options import RequestObserver
from app.infra.http.problem import problem_log_fields

_FORWARDED_FOR = b"x-forwarded-for"


class RequestContextMiddleware:
    """
    Give each request an ID and a client address, and each response the default header fields.

    Afterwards, log and count the request. This is one middleware, not one for each of these,
    because each middleware adds one call per request and one per response message. Header fields
    that other middleware adds to the response are in the request's state as `fields`. A field that
    the route sets replaces the default.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        log: RequestLog,
        observe: RequestObserver,
        trusted_proxies: Sequence[Network],
        https_only: bool,
    ) -> None:
        self._app = app
        self._log = log
        self._observe = observe
        self._trusted = tuple(trusted_proxies)
        self._defaults = security_headers(https_only=https_only)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ids, hops = [], []
        for name, value in scope["headers"]:
            if name == FIELD:
                ids.append(value)
            elif name == _FORWARDED_FOR:
                hops.append(value)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id = choose_request_id(ids)
        state["client_ip"] = find_client(scope.get("client"), hops, trusted=self._trusted)
        state["fields"] = fields = [(FIELD, request_id.encode())]
        state["status"] = None
        method = scope["method"]
        started = perf_counter()

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                headers = [*message["headers"], *fields]
                present = {name for name, _ in headers}
                headers += [field for field in self._defaults if field[0] not in present]
                message = {**message, "headers": headers}
            await send(message)

        with RequestIdBound(request_id):
            try:
                await self._app(scope, receive, send_with_fields)
            finally:
                duration_s, status = perf_counter() - started, state["status"]
                log_request(self._log, scope, method=method, status=status, duration_s=duration_s)
                self._observe(
                    method=method,
                    route=route_template(scope),
                    status=status,
                    problem=problem_log_fields(scope).get("code"),
                    duration_s=duration_s,
                )


def response_started(scope: Scope) -> bool:
    """Tell whether the response to a request has started."""
    return scope["state"]["status"] is not None
