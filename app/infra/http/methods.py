"""Which methods a path knows, for the header `Allow`."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, cast

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

Handler: TypeAlias = Callable[[Request, Exception], Coroutine[Any, Any, Response]]


def allowing(handle: Handler) -> Handler:
    """
    Name all methods of a path in the answer to a wrong one (RFC 9110, section 15.5.6).

    The router itself knows only those of the first route that fits the path.
    """

    async def handle_with_allow(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            known = set(_documented(request)) or set(_allowed(error))
            known |= {"HEAD"} if "GET" in known else set()
            error.headers = {**(error.headers or {}), "Allow": ", ".join(sorted(known))}
        return await handle(request, error)

    return handle_with_allow


def _allowed(error: HTTPException) -> list[str]:
    return (error.headers or {}).get("Allow", "").split(", ")


def _documented(request: Request) -> list[str]:
    paths = cast(FastAPI, request.app).openapi()["paths"]
    fitting = [path for path in paths if compile_path(path)[0].match(request.scope["path"])]
    # "…/contains" is a path of its own, although it could be read as "…/{product_id}".
    closest = min(fitting, key=lambda path: path.count("{"), default=None)
    return [] if closest is None else [method.upper() for method in paths[closest]]
