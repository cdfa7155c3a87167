"""The responses of the server itself, as problem documents."""

from starlette.responses import Response
from starlette.types import Scope

from app.infra.http.middleware.request_id import (
    FIELD,
    HEADER,
    choose_request_id,
    request_id_of,
)
from app.infra.http.middleware.security_headers import security_headers
from app.infra.http.problem import (
    HeadTooLarge,
    InternalError,
    MalformedRequest,
    RequestError,
    RequestTimeout,
    ServerBusy,
    problem_response,
)

# Without HSTS: only the application knows whether the site is HTTPS only.
_SECURITY = security_headers(https_only=False)
_HEALTH = "/health/"


class ProblemRefusals:
    """Create problem documents for requests that do not reach the application."""

    def malformed(self, scope: Scope, detail: str) -> Response:
        """Return 400."""
        return _closing(scope, MalformedRequest(detail))

    def head_too_large(self, scope: Scope, detail: str) -> Response:
        """Return 431."""
        return _closing(scope, HeadTooLarge(detail))

    def request_timeout(self, scope: Scope, detail: str) -> Response:
        """Return 408."""
        return _closing(scope, RequestTimeout(detail))

    def server_busy(self, scope: Scope) -> Response | None:
        """Return 503, but None for health checks: an overloaded process is not a dead one."""
        if scope["path"].startswith(_HEALTH):
            return None
        sent = [value for name, value in scope["headers"] if name == FIELD]
        scope["state"]["request_id"] = request_id = choose_request_id(sent)
        headers = {"Retry-After": "1", HEADER: request_id}
        detail = "There are too many connections. Try again."
        return _closing(scope, ServerBusy(detail, headers=headers))

    def internal_error(self, scope: Scope) -> Response:
        """Return 500."""
        return _closing(scope, InternalError("The error has been logged."))


def _closing(scope: Scope, problem: RequestError) -> Response:
    response = problem_response(scope, problem)
    response.headers.setdefault(HEADER, request_id_of(scope))
    response.headers["Connection"] = "close"
    response.raw_headers[:0] = _SECURITY
    return response
