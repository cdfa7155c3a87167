"""
Problem details (RFC 9457): the responses for outcomes that are not successes.

`STATUS` is the only mapping from outcomes to HTTP statuses. Outcomes of the core are classes of
`app.domain.outcome`; errors that exist only in HTTP are a `RequestError`. Every concrete class has
a `code`, documented for each operation in OpenAPI and served as a page at `/problems/<code>`.

A validation error names each fault by a `pointer` (RFC 6901). A pointer that begins with
`/query/`, `/path/`, `/header/` or `/cookie/` names that parameter of the request; any other points
into the JSON body, and the empty one is the body itself. No body has members of those names.
Values are never repeated: they may be passwords.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, TypeAlias
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.domain.outcome import (
    CatalogUnavailable,
    ChangesForgotten,
    Conflict,
    DomainError,
    InsufficientScope,
    InvalidToken,
    InvalidValue,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    PreconditionFailed,
    ProductNotFound,
    StorageUnavailable,
    Throttled,
    Unavailable,
)
from app.infra.http.middleware.request_id import request_id_of

MEDIA_TYPE = "application/problem+json"
REALM = "favorites"

FieldError: TypeAlias = Mapping[str, str]


class RequestError(HTTPException):
    """
    Base of the errors that exist only in HTTP.

    A Starlette exception, because FastAPI replaces all others that are raised while it reads a
    body.
    """

    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status_of(type(self)), detail, dict(headers or {}))


class MalformedRequest(RequestError):
    code = "malformed_request"
    title = "The request cannot be understood"


class MalformedBody(RequestError):
    code = "malformed_body"
    title = "The body cannot be read"


class InvalidCursor(RequestError):
    code = "invalid_cursor"
    title = "The cursor is not valid for this list"


class CorsRefused(RequestError):
    code = "cors_refused"
    title = "Pages of this origin may not ask for this"


class RequestTimeout(RequestError):
    code = "request_timeout"
    title = "The request did not arrive in time"


class HeadTooLarge(RequestError):
    code = "head_too_large"
    title = "The head of the request is too large"


class ServerBusy(RequestError):
    code = "server_busy"
    title = "Too many clients are connected"


class RouteNotFound(RequestError):
    code = "route_not_found"
    title = "There is nothing at this address"


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"
    title = "The method is not possible here"


class BodyTooLarge(RequestError):
    code = "body_too_large"
    title = "The body is too large"


class UnsupportedMediaType(RequestError):
    code = "unsupported_media_type"
    title = "The body is of a type that is not taken here"


class ValidationFailed(RequestError):
    """Parts of the request violate the rules of the operation."""

    code = "validation_failed"
    title = "Parts of the request are not acceptable"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("The member `errors` names each fault.")
        self.errors = errors


class InternalError(RequestError):
    code = "internal_error"
    title = "Something went wrong on our side"


Problem: TypeAlias = DomainError | RequestError
ProblemType: TypeAlias = type[DomainError] | type[RequestError]

STATUS: Mapping[ProblemType, HTTPStatus] = {
    MalformedRequest: HTTPStatus.BAD_REQUEST,
    MalformedBody: HTTPStatus.BAD_REQUEST,
    InvalidCursor: HTTPStatus.BAD_REQUEST,
    CorsRefused: HTTPStatus.BAD_REQUEST,
    NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    NotAllowed: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    RouteNotFound: HTTPStatus.NOT_FOUND,
    MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    RequestTimeout: HTTPStatus.REQUEST_TIMEOUT,
    Conflict: HTTPStatus.CONFLICT,
    ChangesForgotten: HTTPStatus.GONE,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    InvalidValue: HTTPStatus.UNPROCESSABLE_ENTITY,
    ValidationFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    Throttled: HTTPStatus.TOO_MANY_REQUESTS,
    HeadTooLarge: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    ServerBusy: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(problem: ProblemType) -> HTTPStatus:
    """Return the status of an outcome: its own, or the one of its nearest base class."""
    return next(STATUS[ancestor] for ancestor in problem.__mro__ if ancestor in STATUS)


def concrete_problems() -> Iterator[ProblemType]:
    """Yield every class of outcome that a response can have, without the base classes."""
    for root in (DomainError, RequestError):
        yield from _leaves(root)


def _leaves(problem: ProblemType) -> Iterator[ProblemType]:
    children = problem.__subclasses__()
    if not children:
        yield problem
    for child in children:
        yield from _leaves(child)


def problem_log_fields(scope: Scope) -> Mapping[str, str]:
    """
    Return the `code` of the problem that was the response to a request; empty without one.

    If the database was unavailable, also return the type of the causing exception as `reason`.
    """
    fields: Mapping[str, str] = scope.get("state", {}).get("problem", {})
    return fields


def problem_response(scope: Scope, problem: Problem) -> Response:
    """Return the problem document for an outcome, and note it for logs, metrics and traces."""
    kind = type(problem)
    scope.setdefault("state", {})["problem"] = {"code": kind.code} | _reason(problem)
    status = status_of(kind)
    content: dict[str, Any] = {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": status.value,
        "detail": problem.detail if isinstance(problem, RequestError) else str(problem),
        "instance": quote(scope.get("path", ""), errors="replace"),
        "code": kind.code,
        "request_id": request_id_of(scope),
    }
    match problem:
        case ValidationFailed():
            content["errors"] = problem.errors
        case ChangesForgotten():
            # Without the query, which has the cursor that is too old.
            content["start_over"] = content["instance"]
        case InvalidValue(field=str(name)) if name:
            content["errors"] = [
                {
                    "pointer": pointer(_member_of(scope, name)),
                    "detail": str(problem),
                    "code": kind.code,
                }
            ]
        case _:
            pass
    return Response(
        json.dumps(content),
        status_code=status.value,
        headers=_headers(problem),
        media_type=MEDIA_TYPE,
    )


def _reason(problem: Problem) -> dict[str, str]:
    # Why the database is unavailable is only for logs and traces, not for clients.
    if not isinstance(problem, StorageUnavailable) or problem.__cause__ is None:
        return {}
    kind = type(problem.__cause__)
    place = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {"reason": f"{place}{kind.__qualname__}"}


def _member_of(scope: Scope, name: str) -> str:
    # A domain rule knows the name of the value, not of the member of the body that contains it.
    members: frozenset[str] = scope.get("state", {}).get("body_members", frozenset())
    return f"new_{name}" if name not in members and f"new_{name}" in members else name


def _headers(problem: Problem) -> dict[str, str]:
    match problem:
        case ProductNotFound():
            # RFC 9211: the cache describes responses without a product too.
            hit = "hit; detail=negative" if problem.remembered else "fwd=uri-miss"
            return {"Cache-Status": f"favorites; {hit}"}
        case CatalogUnavailable():
            return _retry_after(problem) | {
                "Cache-Status": "favorites; fwd=uri-miss; detail=catalog-unavailable"
            }
        case Throttled() | Unavailable():
            return _retry_after(problem)
        case NotAuthenticated():
            return {"WWW-Authenticate": _challenge(problem)}
        case InsufficientScope():
            return {"WWW-Authenticate": f'Bearer realm="{REALM}", error="insufficient_scope"'}
        case RequestError(headers=Mapping() as headers):
            return dict(headers)
        case _:
            return {}


def _retry_after(problem: Throttled | Unavailable) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(problem.retry_after.total_seconds())))}


def _challenge(problem: NotAuthenticated) -> str:
    # RFC 6750, section 3: an error only if the request has a token.
    error = ', error="invalid_token"' if isinstance(problem, InvalidToken) else ""
    return f'Bearer realm="{REALM}"{error}'


def pointer(*parts: str | int) -> str:
    """Return the JSON pointer (RFC 6901) with these reference tokens."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


async def answer_problem(request: Request, error: Exception) -> Response:
    """Answer an outcome with its problem document; an exception handler for FastAPI."""
    if not isinstance(error, DomainError | RequestError):
        raise TypeError("This handler is for outcomes only") from error
    return problem_response(request.scope, error)
