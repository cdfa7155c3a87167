"""One line per request, without anything personal but ids."""

from collections.abc import Mapping
from typing import Protocol

import structlog
from starlette.types import Scope

from app.domain.access import CustomerPrincipal, Principal
from app.infra.http.problem import problem_told

EVENT = "http_request"

_logger = structlog.stdlib.get_logger(__name__)


class RequestLog(Protocol):
    """Writes the line about a request; must not block and must not raise."""

    def __call__(self, fields: Mapping[str, str | float | None], *, request_id: str) -> None:
        """Names are never those of secrets, and numbers are finite; all lines bear the id."""


def log_as_any_line(fields: Mapping[str, str | float | None], *, request_id: str) -> None:  # noqa: ARG001 - it is bound
    """Write the line as all others."""
    _logger.info(EVENT, **fields)


def log_request(
    log: RequestLog, scope: Scope, *, method: str, status: int | None, duration_s: float
) -> None:
    """
    Log a request that has been answered, or given up: method, route, status, milliseconds, and
    the code of the problem if it was one.

    The route's template is logged and neither path nor query: both are the client's words, and
    filters hold e-mail addresses.
    """
    state = scope["state"]
    log(
        {
            "method": method,
            "route": route_template(scope),
            "status": status,
            "duration_ms": round(duration_s * 1000, 2),
            "client_ip": state["client_ip"],
            **_ids(state.get("principal")),
            **problem_told(scope),
        },
        request_id=state["request_id"],
    )


def route_template(scope: Scope) -> str | None:
    """Return the path of the route that answered, with its parameters' names; None without one."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def _ids(principal: Principal | None) -> dict[str, str]:
    if isinstance(principal, CustomerPrincipal):
        return {"customer_id": str(principal.customer_id)}
    return {} if principal is None else {"key_id": principal.key_id}
