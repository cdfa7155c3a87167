"""The OpenAPI document: what FastAPI derives from the routes, completed."""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from app.domain.outcome import (
    ChangesForgotten,
    CrossSiteRequest,
    InvalidApiKey,
    InvalidToken,
    MissingCredentials,
    NotAuthenticated,
    RateLimited,
    StorageUnavailable,
    Throttled,
    Unavailable,
)
from app.infra.http.problem import (
    MEDIA_TYPE,
    BodyTooLarge,
    InvalidCursor,
    MalformedBody,
    MalformedRequest,
    ProblemType,
    UnsupportedMediaType,
    ValidationFailed,
    status_of,
)
from app.infra.http.problem_page import MEANING

PUBLIC: dict[str, Any] = {"security": []}
"""For `openapi_extra` of operations that need no credentials; all others do."""

SIGNED_IN_ONLY: dict[str, Any] = {"security": [{"cookie": []}, {"bearer": []}]}
"""For `openapi_extra` of operations that no API key may call."""

_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "RFC 9110, section 8.8.3"}}
TAGGED: dict[int | str, dict[str, Any]] = {
    200: {"headers": _ETAG},
    304: {"description": "`If-None-Match` names the current version", "headers": _ETAG},
}
"""For `responses` of operations whose answers have an entity tag."""

TAGS = [
    {"name": "auth", "description": "Accounts and sessions: joining, coming and going."},
    {"name": "customers", "description": "Accounts: one's own, or all of them."},
    {"name": "favorites", "description": "Products that a customer marked."},
    {"name": "products", "description": "The catalog, read through the cache."},
    {"name": "health", "description": "For load balancers and orchestrators."},
]

DESCRIPTION = """
Favorite products of an outside catalog, for customers, front ends and internal systems.

- **Errors** are problem details (RFC 9457); their `type` leads to a page that explains them.
- **Lists** are pages: follow `next` until it is absent.
- **Credentials**: the cookie of sign-in, the same token as `Authorization: Bearer`, or an API key.
- **Money** is a string with two places; times are RFC 3339 in UTC.
""".strip()

_UNSAFE = {"post", "put", "patch", "delete"}


def problems(*kinds: ProblemType) -> dict[int | str, dict[str, Any]]:
    """Return what an operation documents of the problems it can end with."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        _add(responses, kind)
    return responses


def document(api: FastAPI, *, api_key_header: str) -> dict[str, Any]:
    """Return the document with the problems and credentials that follow from conventions."""
    schema = _derived(api)
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(_SCHEMAS)
    components["securitySchemes"] = {
        "cookie": {"type": "apiKey", "in": "cookie", "name": "access_token"},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "apiKey": {"type": "apiKey", "in": "header", "name": api_key_header},
    }
    schema["security"] = [{"cookie": []}, {"bearer": []}, {"apiKey": []}]
    for path, method, operation in operations(schema):
        for parameter in operation.get("parameters", ()):
            if parameter["schema"].get("type") == "array":
                # Lists are separated by commas, not by repeating the parameter.
                parameter.update(style="form", explode=False)
        for kind in _by_convention(path, method, operation):
            _add(operation["responses"], kind)
        operation["responses"] = dict(sorted(operation["responses"].items()))
    return schema


def operations(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation of everything in a document."""
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def _derived(api: FastAPI) -> dict[str, Any]:
    schema = FastAPI.openapi(api)
    for name in ("HTTPValidationError", "ValidationError"):
        schema.get("components", {}).get("schemas", {}).pop(name, None)
    for _, _, operation in operations(schema):
        # FastAPI's own description of validation errors is not ours.
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    return schema


def _by_convention(path: str, method: str, operation: dict[str, Any]) -> Iterable[ProblemType]:
    yield MalformedRequest
    if path == "/health/live":
        return
    yield StorageUnavailable
    if not path.startswith("/health"):
        yield RateLimited
    if operation.get("security") != []:
        yield from (MissingCredentials, InvalidToken, InvalidApiKey)
    if method in _UNSAFE:
        yield from (CrossSiteRequest, BodyTooLarge)
    if "requestBody" in operation:
        yield from (MalformedBody, UnsupportedMediaType)
    parameters = [parameter["name"] for parameter in operation.get("parameters", ())]
    if parameters or "requestBody" in operation:
        yield ValidationFailed
    if {"cursor", "since"} & {*parameters}:
        yield InvalidCursor


def _add(responses: dict[Any, dict[str, Any]], kind: ProblemType) -> None:
    status = status_of(kind)
    # FastAPI takes numbers, its document has strings.
    key = str(status.value)
    response = responses.setdefault(
        key,
        {
            "description": status.phrase,
            "headers": _headers(kind),
            "content": {MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}, "examples": {}}},
        },
    )
    if MEDIA_TYPE not in response.get("content", {}):
        raise ValueError(f"{key} is documented as something else than a problem")
    response["content"][MEDIA_TYPE]["examples"][kind.code] = _example(kind, status)
    examples = response["content"][MEDIA_TYPE]["examples"]
    response["description"] = "  \n".join(
        f"`{code}`: {example['summary']}" for code, example in examples.items()
    )


def _headers(kind: ProblemType) -> dict[str, Any]:
    if issubclass(kind, NotAuthenticated):
        return {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "RFC 6750"}}
    if issubclass(kind, Throttled | Unavailable):
        return {
            "Retry-After": {
                "schema": {"type": "integer", "minimum": 1},
                "description": "Seconds to wait before trying again",
            }
        }
    return {}


def _example(kind: ProblemType, status: HTTPStatus) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": status.value,
        "detail": MEANING[kind.code],
        "instance": "/the/path/that/was/asked/for",
        "code": kind.code,
        "request_id": "4f6c1d0a8b7e4c2f9a3d5e6b7c8d9e0f",
    }
    if kind is ValidationFailed:
        value["errors"] = [
            {"pointer": "/name", "detail": "This is required.", "code": "missing"},
        ]
    if kind is ChangesForgotten:
        value["start_over"] = value["instance"]
    return {"summary": kind.title, "value": value}


_PROBLEM = "#/components/schemas/Problem"
_SCHEMAS: dict[str, Any] = {
    "Problem": {
        "title": "Problem",
        "description": "What went wrong (RFC 9457).",
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "code": {"type": "string", "description": "Stable, for programs."},
            "request_id": {"type": "string"},
            "start_over": {
                "type": "string",
                "format": "uri-reference",
                "description": "Where to begin anew, with `changes_forgotten`.",
            },
            "errors": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/FieldError"},
            },
        },
    },
    "FieldError": {
        "title": "FieldError",
        "type": "object",
        "required": ["pointer", "detail", "code"],
        "properties": {
            "pointer": {
                "type": "string",
                "description": (
                    "Where the fault is (RFC 6901): in the body, or in a parameter if it begins "
                    "with /query/, /path/, /header/ or /cookie/."
                ),
            },
            "detail": {"type": "string"},
            "code": {"type": "string"},
        },
    },
}
