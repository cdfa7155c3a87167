"""What FastAPI and Pydantic find wrong, as our problems."""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.infra.http.problem import (
    BodyTooLarge,
    FieldError,
    MalformedBody,
    MalformedRequest,
    MethodNotAllowed,
    RequestError,
    RouteNotFound,
    ValidationFailed,
    pointer,
    problem_response,
)

_SAID_BY_STARLETTE: dict[int, tuple[type[RequestError], str]] = {
    400: (MalformedBody, "The body cannot be read."),
    404: (RouteNotFound, "No operation of this service has this path."),
    405: (MethodNotAllowed, "The header `Allow` names the methods that are possible."),
    413: (BodyTooLarge, "The body is too large."),
}


async def answer_invalid(request: Request, error: Exception) -> Response:
    """Answer a request that breaks the rules of its operation, without repeating any value."""
    if not isinstance(error, RequestValidationError):
        raise TypeError("Only validation errors are answered here") from error
    faults = [_fault(each) for each in error.errors()]
    return problem_response(request.scope, ValidationFailed(faults))


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer what Starlette refuses by itself: no such path, no such method."""
    if not isinstance(error, HTTPException):
        raise TypeError("Only HTTP exceptions are answered here") from error
    kind, detail = _SAID_BY_STARLETTE.get(
        error.status_code, (MalformedRequest, "The request cannot be understood.")
    )
    return problem_response(request.scope, kind(detail, headers=error.headers))


def _fault(error: dict[str, Any]) -> FieldError:
    where: Sequence[str | int] = error["loc"]
    parts = where[1:] if where and where[0] == "body" else where
    return {
        "pointer": pointer(*parts),
        # Messages of parsers quote what they stumbled over.
        "detail": _DETAILS.get(error["type"], error["msg"]),
        "code": error["type"],
    }


_DETAILS = {
    "missing": "This is required.",
    "extra_forbidden": "This operation knows no such member.",
    "datetime_from_date_parsing": "This has to be a time as in RFC 3339.",
    "datetime_parsing": "This has to be a time as in RFC 3339.",
    "uuid_parsing": "This has to be a UUID.",
    "string_pattern_mismatch": "The text has not the form that is documented.",
}
