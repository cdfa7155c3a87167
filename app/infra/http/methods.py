"""The header field `Allow` of responses to unsupported methods."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, cast

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

Handler: TypeAlias = Callable[[Request, Exception], Coroutine[Any, Any, Response]]


def with_allow(handle: Handler) -> Handler:
    """
    Make an exception handler list all methods of the path with 405 (RFC 9110, section 15.5.6).

    Starlette lists only those of the first route that matches the path.
    """

    async def handle_with_allow(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            methods = set(_documented(request)) or set(_allowed(error))
            methods |= {"HEAD"} if "GET" in methods else set()
            error.headers = {**(error.headers or {}), "Allow": ", ".join(sorted(methods))}
        return await handle(request, error)

    return handle_with_allow


def _allowed(error: HTTPException) -> list[str]:
    return (error.headers or {}).get("Allow", "").split(", ")


def _documented(request: Request) -> list[str]:
    paths = cast(FastAPI, request.app).openapi()["paths"]
    matching = [path for path in paths if compile_path(path)[0].match(request.scope["path"])]
    # "…/contains" also matches "…/{product_id}": the path with fewer parameters is the right one.
    closest = min(matching, key=lambda path: path.count("{"), default=None)
    return [] if closest is None else [method.upper() for method in paths[closest]]
