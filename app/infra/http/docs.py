"""
The documentation pages, Swagger UI and ReDoc, without requests to other sites.

The assets come from the package `fastapi-offline`. The pages are written here, without inline
scripts, so that they work with a strict Content-Security-Policy.
"""

import json
from collections.abc import MutableMapping
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from typing_extensions import override

_ASSETS = "/docs/assets"
_VERSION = version("fastapi-offline")
_MAX_AGE = {"Cache-Control": "public, max-age=300"}

_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "connect-src 'self'; font-src 'self' data:; img-src 'self' data:; script-src 'self'; "
    # Both tools add style elements at run time; the search of ReDoc is a worker from a blob.
    "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:"
)

_SWAGGER = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Favorites: API</title>
<link rel="icon" href="{_ASSETS}/favicon.png?v={_VERSION}">
<link rel="stylesheet" href="{_ASSETS}/swagger-ui.css?v={_VERSION}">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{_ASSETS}/swagger-ui-bundle.js?v={_VERSION}"></script>
<script src="/docs/begin.js"></script>
</body>
</html>
"""

_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""

_REDOC = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Favorites: API reference</title>
<link rel="icon" href="{_ASSETS}/favicon.png?v={_VERSION}">
</head>
<body>
<redoc spec-url="/openapi.json"></redoc>
<script src="{_ASSETS}/redoc.standalone.js?v={_VERSION}"></script>
</body>
</html>
"""


class _Assets(StaticFiles):
    """Files that never change, because their URLs contain a version."""

    @override
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def add_docs(api: FastAPI) -> None:
    """Serve `/docs`, `/redoc` and `/openapi.json`."""

    async def swagger(_: Request) -> Response:
        return _page(_SWAGGER)

    async def start(_: Request) -> Response:
        return Response(_START, media_type="text/javascript", headers=_MAX_AGE)

    async def redoc(_: Request) -> Response:
        return _page(_REDOC)

    rendered: MutableMapping[str, bytes] = {}

    async def openapi(_: Request) -> Response:
        if "json" not in rendered:
            rendered["json"] = json.dumps(api.openapi()).encode()
        return Response(rendered["json"], media_type="application/json", headers=_MAX_AGE)

    api.add_route("/openapi.json", openapi, include_in_schema=False)
    api.add_route("/docs", swagger, include_in_schema=False)
    api.add_route("/docs/begin.js", start, include_in_schema=False)
    api.add_route("/redoc", redoc, include_in_schema=False)
    static = files("fastapi_offline").joinpath("static")
    api.mount(_ASSETS, _Assets(directory=str(static)), name="docs-assets")


def _page(html: str) -> Response:
    return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY, **_MAX_AGE})
