"""CORS for an exact list of origins."""

from collections.abc import Set as AbstractSet

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from app.infra.http.middleware.request_id import HEADER
from app.infra.http.problem import CorsRefused, problem_response


class Cors(CORSMiddleware):
    """Allow requests with credentials from listed origins; answer others with a problem."""

    def __init__(
        self, app: ASGIApp, *, allowed_origins: AbstractSet[str], api_key_header: str
    ) -> None:
        super().__init__(
            app,
            allow_origins=allowed_origins,
            allow_methods=["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"],
            allow_headers=["Authorization", "If-Match", "If-None-Match", HEADER, api_key_header],
            allow_credentials=True,
            expose_headers=[
                "Age",
                "Cache-Status",
                "Content-Disposition",
                "ETag",
                "Location",
                "RateLimit",
                "RateLimit-Policy",
                "Retry-After",
                HEADER,
            ],
        )

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except CorsRefused as refusal:
            await problem_response(scope, refusal)(scope, receive, send)

    @override
    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 400:
            raise CorsRefused("This origin, method or header field is not allowed.")
        response.status_code = 204
        response.body = b""
        del response.headers["content-length"], response.headers["content-type"]
        return response
