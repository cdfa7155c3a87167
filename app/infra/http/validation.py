"""Errors of FastAPI, Pydantic and Starlette as problems."""

from collections.abc import Iterable, Sequence
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

_STARLETTE_ERRORS: dict[int, tuple[type[RequestError], str]] = {
    400: (MalformedBody, "The body cannot be read."),
    404: (RouteNotFound, "No operation of this service has this path."),
    405: (MethodNotAllowed, "The header field `Allow` lists the methods of this path."),
    413: (BodyTooLarge, "The body is too large."),
}


async def answer_invalid(request: Request, error: Exception) -> Response:
    """Answer a request that violates the rules of its operation; an exception handler."""
    if not isinstance(error, RequestValidationError):
        raise TypeError("This handler is for validation errors only") from error
    return problem_response(request.scope, validation_failed(error.errors()))


def validation_failed(errors: Iterable[dict[str, Any]]) -> ValidationFailed:
    """Return the problem for errors in the form of Pydantic, without repeating values."""
    faults: list[FieldError] = []
    for error in errors:
        # FastAPI reports a parameter once for each dependency that declares it.
        if (fault := _fault(error)) not in faults:
            faults.append(fault)
    return ValidationFailed(faults)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer a refusal of Starlette, such as an unknown path; an exception handler."""
    if not isinstance(error, HTTPException):
        raise TypeError("This handler is for HTTP exceptions only") from error
    kind, detail = _STARLETTE_ERRORS.get(
        error.status_code, (MalformedRequest, "The request cannot be understood.")
    )
    return problem_response(request.scope, kind(detail, headers=error.headers))


def _fault(error: dict[str, Any]) -> FieldError:
    where: Sequence[str | int] = error["loc"]
    parts = where[1:] if where and where[0] == "body" else where
    return {
        "pointer": pointer(*parts),
        # Messages of parsers may quote the value.
        "detail": _DETAILS.get(error["type"], error["msg"]),
        "code": error["type"],
    }


_DETAILS = {
    "missing": "This is required.",
    "extra_forbidden": "This operation has no such member.",
    "datetime_from_date_parsing": "This has to be a time as in RFC 3339.",
    "datetime_parsing": "This has to be a time as in RFC 3339.",
    "uuid_parsing": "This has to be a UUID.",
    "string_pattern_mismatch": "The text does not have the documented form.",
}
