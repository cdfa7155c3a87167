"""The responses of the server itself, as problem documents."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.types import Scope

from app.infra.http.middleware.request_id import FIELD, choose_request_id
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
from app.infra.server.disconnect import DisconnectReason
from app.infra.server.limits import HEAD_MAX_BYTES
from app.infra.server.refusal import Refusal

# Without HSTS: only the application knows whether the site is HTTPS only.
_SECURITY = security_headers(https_only=False)
_CLOSE = (b"connection", b"close")
_RETRY_AFTER = (b"retry-after", b"1")

_PROBLEMS: Mapping[DisconnectReason | None, tuple[type[RequestError], str]] = {
    DisconnectReason.MALFORMED: (MalformedRequest, "This is not HTTP/1.1."),
    DisconnectReason.TOO_MANY_PIECES: (MalformedRequest, "The body comes in too many pieces."),
    DisconnectReason.HEAD_TIMEOUT: (
        RequestTimeout,
        "The head of the request did not arrive in time.",
    ),
    DisconnectReason.BODY_TIMEOUT: (
        RequestTimeout,
        "The body of the request did not arrive in time.",
    ),
    DisconnectReason.HEAD_TOO_LARGE: (
        HeadTooLarge,
        f"A head has at most {HEAD_MAX_BYTES} bytes.",
    ),
    DisconnectReason.SERVER_BUSY: (ServerBusy, "There are too many connections. Try again."),
    None: (InternalError, "The error has been logged."),
}


def write_refusal(
    reason: DisconnectReason | None, scope: Scope, request_id: str | None
) -> Refusal:
    """
    Return a problem document with the fields of every other response.

    The request ID is stored in the scope's state, for log lines and traces.
    """
    if request_id is None:
        sent = [value for name, value in scope["headers"] if name == FIELD]
        request_id = choose_request_id(sent)
    scope.setdefault("state", {})["request_id"] = request_id
    problem, detail = _PROBLEMS[reason]
    response = problem_response(scope, problem(detail))
    named = (FIELD, request_id.encode())
    if reason is DisconnectReason.SERVER_BUSY:
        fields = [*_SECURITY, _RETRY_AFTER, named, *response.raw_headers, _CLOSE]
    else:
        fields = [*_SECURITY, *response.raw_headers, named, _CLOSE]
    return Refusal(
        status=response.status_code,
        phrase=HTTPStatus(response.status_code).phrase,
        fields=fields,
        body=bytes(response.body),
        request_id=request_id,
    )
