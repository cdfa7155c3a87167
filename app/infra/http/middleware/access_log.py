"""One line per request, without anything personal but ids."""

import structlog
from starlette.types import Scope

from app.domain.access import CustomerPrincipal, Principal
from app.infra.http.problem import problem_told

logger = structlog.stdlib.get_logger(__name__)


def log_request(scope: Scope, *, method: str, status: int | None, duration_s: float) -> None:
    """
    Log a request that has been answered, or given up: method, route, status, milliseconds, and
    the code of the problem if it was one.

    The route's template is logged and neither path nor query: both are the client's words, and
    filters hold e-mail addresses.
    """
    state = scope["state"]
    logger.info(
        "http_request",
        method=method,
        route=route_template(scope),
        status=status,
        duration_ms=round(duration_s * 1000, 2),
        client_ip=state.get("client_ip"),
        **_ids(state.get("principal")),
        **problem_told(scope),
    )


def route_template(scope: Scope) -> str | None:
    """Return the path of the route that answered, with its parameters' names; None without one."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def _ids(principal: Principal | None) -> dict[str, str]:
    if isinstance(principal, CustomerPrincipal):
        return {"customer_id": str(principal.customer_id)}
    return {} if principal is None else {"key_id": principal.key_id}
