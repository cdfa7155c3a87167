"""
The pages that explain the API, served without help from elsewhere.

`fastapi-offline` brings the assets of Swagger UI and ReDoc; the pages are ours, so that they need
neither a CDN nor inline scripts, and a strict Content-Security-Policy holds.
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

_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "connect-src 'self'; font-src 'self' data:; img-src 'self' data:; script-src 'self'; "
    # Both tools write style elements at run time; ReDoc searches in a worker made of a blob.
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

_BEGIN = """SwaggerUIBundle({
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
    """Files whose URL names their version: they never change."""

    @override
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def add_docs(api: FastAPI) -> None:
    """Serve `/docs`, `/redoc` and `/openapi.json`."""

    async def swagger(_: Request) -> Response:
        return _page(_SWAGGER)

    async def begin(_: Request) -> Response:
        return Response(_BEGIN, media_type="text/javascript", headers=_short())

    async def redoc(_: Request) -> Response:
        return _page(_REDOC)

    rendered: MutableMapping[str, bytes] = {}

    async def openapi(_: Request) -> Response:
        if "json" not in rendered:
            rendered["json"] = json.dumps(api.openapi()).encode()
        return Response(rendered["json"], media_type="application/json", headers=_short())

    api.add_route("/openapi.json", openapi, include_in_schema=False)
    api.add_route("/docs", swagger, include_in_schema=False)
    api.add_route("/docs/begin.js", begin, include_in_schema=False)
    api.add_route("/redoc", redoc, include_in_schema=False)
    static = files("fastapi_offline").joinpath("static")
    api.mount(_ASSETS, _Assets(directory=str(static)), name="docs-assets")


def _page(html: str) -> Response:
    return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY, **_short()})


def _short() -> dict[str, str]:
    return {"Cache-Control": "public, max-age=300"}
