"""The HTTP application."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp
from typing_extensions import override

from app.application.build import UseCases
from app.domain.outcome import DomainError
from app.infra.http import openapi, problem_page
from app.infra.http.access import recognized
from app.infra.http.dispatch import Dispatch
from app.infra.http.docs import add_docs
from app.infra.http.json_writer import JsonWriter
from app.infra.http.methods import with_allow
from app.infra.http.middleware.body_limit import BodyLimit
from app.infra.http.middleware.cors import Cors
from app.infra.http.middleware.cross_site import RefuseCrossSite
from app.infra.http.middleware.error_boundary import ErrorBoundary
from app.infra.http.middleware.head import HeadAsGet
from app.infra.http.middleware.rate_limit import RateLimit
from app.infra.http.middleware.request_context import RequestContextMiddleware
from app.infra.http.middleware.target import CheckTarget
from app.infra.http.middleware.trace import Trace
from app.infra.http.options import HttpOptions
from app.infra.http.paging import CursorCodec
from app.infra.http.problem import RequestError, answer_problem
from app.infra.http.router import auth, customers, favorite_bulk, favorites, health, products
from app.infra.http.validation import answer_http_exception, answer_invalid

VERSION = "1.0.0"

_ROUTERS = (
    favorites.router,
    favorite_bulk.router,
    *customers.routers,
    *auth.routers,
    products.router,
    health.router,
    problem_page.router,
)
# Not included as routers: FastAPI would build each route again for every application.
_ROUTES = [route for router in _ROUTERS for route in router.routes]


class _Api(FastAPI):
    """
    FastAPI without its own outermost middleware.

    That middleware does not write problem documents, and adds three calls per request and one per
    response message. The server answers errors outside of `ErrorBoundary`.
    """

    @override
    def build_middleware_stack(self) -> ASGIApp:
        stack: Any = super().build_middleware_stack()
        outermost: Any = self.user_middleware[0].cls
        while type(stack) is not outermost:
            stack = stack.app
        return cast(ASGIApp, stack)


def create_api(use_cases: AbstractAsyncContextManager[UseCases], options: HttpOptions) -> FastAPI:
    """
    Build the application.

    The context of the use cases is entered at startup and exited at shutdown. The use cases are in
    the state of every request.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        try:
            async with use_cases as wired:
                # The server copies this into the state of each request.
                yield {
                    "use_cases": wired,
                    "json_writer": JsonWriter(wired.cache_policy),
                    "api_key_field": options.api_key_header.lower().encode(),
                }
        finally:
            if options.limiter is not None:
                await options.limiter.aclose()

    api = _Api(
        title="Favorites",
        version=VERSION,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own traces contain paths and queries, which are the client's text.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
        routes=_ROUTES,
        lifespan=lifespan,
        middleware=_middleware(options),
        exception_handlers={
            DomainError: answer_problem,
            RequestError: answer_problem,
            RequestValidationError: answer_invalid,
            HTTPException: with_allow(answer_http_exception),
        },
    )
    api.state.options = options
    api.state.cursors = CursorCodec(options.cursor_keys)
    schema = partial(openapi.document, api, api_key_header=options.api_key_header)
    api.openapi = schema  # type: ignore[method-assign]  # FastAPI's documented way
    if options.docs_enabled:
        add_docs(api)
    return api


def _middleware(options: HttpOptions) -> list[Middleware]:
    """
    Return the middleware around the routes, the outermost first.

    Traces, header fields and log lines cover every response, also those of inner middleware. The
    rate limit comes before any other work. Middleware that refuses requests is within
    `ErrorBoundary`, which answers its exceptions. The body is read last, only of requests that
    nothing else refused.
    """
    cors = Middleware(
        Cors, allowed_origins=options.allowed_origins, api_key_header=options.api_key_header
    )
    return [
        *([Middleware(Trace, tracer=options.tracer)] if options.tracer is not None else []),
        Middleware(
            RequestContextMiddleware,
            log=options.log,
            observe=options.observe,
            trusted_proxies=options.trusted_proxies,
            https_only=options.cookie_secure,
        ),
        *([cors] if options.allowed_origins else []),
        *(
            [Middleware(RateLimit, limiter=options.limiter, recognize=recognized)]
            if options.limiter is not None
            else []
        ),
        Middleware(ErrorBoundary),
        Middleware(CheckTarget),
        Middleware(RefuseCrossSite, allowed_origins=options.allowed_origins),
        Middleware(BodyLimit, limit=options.max_body_bytes),
        Middleware(HeadAsGet),
        Middleware(Dispatch, routes=_ROUTES),
    ]
