"""
Outcomes as answers: RFC 9457 problem details.

`STATUS` is the only place where an outcome meets an HTTP status. Outcomes of the core are classes
of `app.domain.outcome`; what can only go wrong in HTTP is a `RequestError` here. Every concrete
one has a `code`, documented per operation in OpenAPI and served as a page at `/problems/<code>`.

A validation error names each fault by a `pointer` (RFC 6901). One that begins with `/query/`,
`/path/`, `/header/` or `/cookie/` leads to that parameter of the request; any other leads into the
JSON body, the empty one being the body itself. No body has members of those names. Values are
never repeated: they may be passwords.
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
    Base of what is wrong with a request as such.

    A Starlette exception, because FastAPI passes on no others while it reads a body.
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
    """Parts of the request break the rules of this operation."""

    code = "validation_failed"
    title = "Parts of the request are not acceptable"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("See `errors` for each of them.")
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
    """Return the status of an outcome: its own, or that of its nearest ancestor."""
    return next(STATUS[ancestor] for ancestor in problem.__mro__ if ancestor in STATUS)


def concrete_problems() -> Iterator[ProblemType]:
    """Yield every outcome that can be an answer, families aside."""
    for root in (DomainError, RequestError):
        yield from _leaves(root)


def _leaves(problem: ProblemType) -> Iterator[ProblemType]:
    children = problem.__subclasses__()
    if not children:
        yield problem
    for child in children:
        yield from _leaves(child)


def problem_told(scope: Scope) -> Mapping[str, str]:
    """
    Return the `code` of the problem that a request was answered with; nothing if it was not.

    With it is the `reason` for which the database was unavailable: the exception behind it.
    """
    told: Mapping[str, str] = scope.get("state", {}).get("problem", {})
    return told


def problem_response(scope: Scope, problem: Problem) -> Response:
    """Answer a request with what went wrong."""
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
            # Without the query: without the cursor that is too old.
            content["start_over"] = content["instance"]
        case InvalidValue(field=str(name)) if name:
            content["errors"] = [
                {
                    "pointer": pointer(_sent_as(scope, name)),
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
    # Why the database is unavailable is nobody's business outside, and our first question.
    if not isinstance(problem, StorageUnavailable) or problem.__cause__ is None:
        return {}
    kind = type(problem.__cause__)
    place = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {"reason": f"{place}{kind.__qualname__}"}


def _sent_as(scope: Scope, name: str) -> str:
    # A rule of the domain knows the value's name, not that of the member that carried it.
    members: frozenset[str] = scope.get("state", {}).get("body_members", frozenset())
    return f"new_{name}" if name not in members and f"new_{name}" in members else name


def _headers(problem: Problem) -> dict[str, str]:
    match problem:
        case ProductNotFound():
            return {"Cache-Status": _negative(problem)}
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


def _negative(problem: ProductNotFound) -> str:
    # What the cache did is told of answers without a product too (RFC 9211).
    return f"favorites; {'hit; detail=negative' if problem.remembered else 'fwd=uri-miss'}"


def _challenge(problem: NotAuthenticated) -> str:
    # RFC 6750, section 3: an error only if a token was shown.
    shown = ', error="invalid_token"' if isinstance(problem, InvalidToken) else ""
    return f'Bearer realm="{REALM}"{shown}'


def pointer(*parts: str | int) -> str:
    """Return the JSON pointer (RFC 6901) that follows these steps."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


async def answer_problem(request: Request, error: Exception) -> Response:
    """Answer an outcome; for FastAPI's table of handlers."""
    if not isinstance(error, DomainError | RequestError):
        raise TypeError("Only outcomes are answered here") from error
    return problem_response(request.scope, error)
