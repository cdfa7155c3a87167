"""One line per request, without anything personal but ids."""

from time import perf_counter
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.access import CustomerPrincipal, ServicePrincipal

logger = structlog.stdlib.get_logger(__name__)


class AccessLog:
    """
    Log every request when it has been answered: method, route, status, duration in milliseconds.

    The route's template is logged and neither path nor query: both are the client's words, and
    filters hold e-mail addresses.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None
        method = scope["method"]
        began = perf_counter()

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            logger.info(
                "http_request",
                method=method,
                route=route_template(scope),
                status=status,
                duration_ms=round((perf_counter() - began) * 1000, 2),
                client_ip=scope["state"].get("client_ip"),
                **_principal_ids(scope),
            )


def route_template(scope: Scope) -> str | None:
    """Return the path of the route that answered, with its parameters' names; None without one."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def _principal_ids(scope: Scope) -> dict[str, Any]:
    match scope["state"].get("principal"):
        case CustomerPrincipal() as customer:
            return {"customer_id": str(customer.customer_id)}
        case ServicePrincipal() as service:
            return {"key_id": service.key_id}
        case _:
            return {}
