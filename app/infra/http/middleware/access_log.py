"""One log line for each request, without personal data except IDs and the client's address."""

from collections.abc import Mapping
from typing import Protocol

import structlog
from starlette.types import Scope

from app.domain.access import CustomerPrincipal, Principal
from app.infra.http.problem import problem_log_fields

EVENT = "http_request"

_logger = structlog.stdlib.get_logger(__name__)


class RequestLog(Protocol):
    """Write the line of a request; must not block and must not raise."""

    def __call__(self, fields: Mapping[str, str | float | None], *, request_id: str) -> None:
        """Write a line; no field has the name of a secret, and numbers are finite."""


def log_through_structlog(
    fields: Mapping[str, str | float | None],
    *,
    request_id: str,  # noqa: ARG001 - structlog reads it from the context
) -> None:
    """Write the line with structlog, like all other events."""
    _logger.info(EVENT, **fields)


def log_request(
    log: RequestLog, scope: Scope, *, method: str, status: int | None, duration_s: float
) -> None:
    """
    Log a request after its response, or after it failed.

    The line has the template of the route, but neither path nor query: those are the client's
    text, and filters contain e-mail addresses.
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
            **problem_log_fields(scope),
        },
        request_id=state["request_id"],
    )


def route_template(scope: Scope) -> str | None:
    """Return the path of the matched route with the names of its parameters; None without one."""
    path = getattr(scope.get("route"), "path_format", None)
    return path if isinstance(path, str) else None


def _ids(principal: Principal | None) -> dict[str, str]:
    if isinstance(principal, CustomerPrincipal):
        return {"customer_id": str(principal.customer_id)}
    return {} if principal is None else {"key_id": principal.key_id}
