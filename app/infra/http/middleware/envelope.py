"""What every request gets, whatever answers it."""

from collections.abc import Sequence
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.http.middleware.access_log import RequestLog, log_request, route_template
from app.infra.http.middleware.client_address import Network, find_client
from app.infra.http.middleware.request_id import FIELD, RequestIdBound, choose_request_id
from app.infra.http.middleware.security_headers import security_headers
from app.infra.http.options import RequestObserver
from app.infra.http.problem import problem_told

_FORWARDED_FOR = b"x-forwarded-for"


class Envelope:
    """
    Give each request an id and the address it comes from, and each answer the strictest headers,
    except where a route has set its own; when it has been answered, log and count it.

    All of this is one layer, and not one each: a layer costs every request a call, and every
    message of its answer another. What is to be on an answer besides is put into the request's
    state as `fields`; from it `has_begun` tells whether there is an answer.
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
        self._headers = security_headers(https_only=https_only)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
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
        began = perf_counter()

        async def send_in_envelope(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                headers = [*message["headers"], *fields]
                present = {name for name, _ in headers}
                headers += [field for field in self._headers if field[0] not in present]
                message = {**message, "headers": headers}
            await send(message)

        with RequestIdBound(request_id):
            try:
                await self._app(scope, receive, send_in_envelope)
            finally:
                duration_s, status = perf_counter() - began, state["status"]
                log_request(self._log, scope, method=method, status=status, duration_s=duration_s)
                self._observe(
                    method=method,
                    route=route_template(scope),
                    status=status,
                    problem=problem_told(scope).get("code"),
                    duration_s=duration_s,
                )


def has_begun(scope: Scope) -> bool:
    """Tell whether the answer to a request has begun."""
    return scope["state"]["status"] is not None
