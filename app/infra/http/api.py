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

from app.application.use_cases import UseCases
from app.domain.outcome import DomainError
from app.infra.http import openapi, problem_page
from app.infra.http.access import recognized
from app.infra.http.docs import add_docs
from app.infra.http.lately_shown import LatelyShown
from app.infra.http.methods import allowing
from app.infra.http.middleware.body_limit import BodyLimit
from app.infra.http.middleware.cors import Cors
from app.infra.http.middleware.cross_site import RefuseCrossSite
from app.infra.http.middleware.envelope import Envelope
from app.infra.http.middleware.error_boundary import ErrorBoundary
from app.infra.http.middleware.head import HeadAsGet
from app.infra.http.middleware.rate_limit import RateLimit
from app.infra.http.middleware.target import CheckTarget
from app.infra.http.middleware.trace import Trace
from app.infra.http.options import HttpOptions
from app.infra.http.paging import CursorCodec
from app.infra.http.plain.requests import PlainRequests
from app.infra.http.problem import RequestError, answer_problem
from app.infra.http.router import auth, customers, favorite_bulk, favorites, health, products
from app.infra.http.validation import answer_http_exception, answer_invalid

VERSION = "1.0.0"

# Of paths that fit alike the first counts: "…/favorites/import" before "…/{product_id}".
_ROUTERS = (
    *auth.routers,
    *customers.routers,
    favorite_bulk.router,
    favorites.router,
    products.router,
    health.router,
    problem_page.router,
)


class _Api(FastAPI):
    """
    FastAPI, with nothing around our own layers.

    What it puts there knows nothing of problem documents, and costs every request three calls and
    each message of its answer one. What goes wrong outside of `ErrorBoundary` the server answers.
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
    Build the application; the use cases are entered when it starts and left when it stops.

    They are in the state of every request as `use_cases`.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        try:
            async with use_cases as wired:
                # In the state of each request, where it is found soonest.
                yield {
                    "use_cases": wired,
                    "lately_shown": LatelyShown(),
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
        # Its own traces hold paths and queries, which are the client's words.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
        # Not included as routers: that would make each of them again, for every application and
        # while its first requests wait.
        routes=[route for router in _ROUTERS for route in router.routes],
        lifespan=lifespan,
        middleware=_middleware(options),
        exception_handlers={
            DomainError: answer_problem,
            RequestError: answer_problem,
            RequestValidationError: answer_invalid,
            HTTPException: allowing(answer_http_exception),
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
    Return the layers around the routes, the outermost first.

    A trace is of everything, if there are traces; the envelope is about the answer as it leaves,
    refusals included; requests are counted before anything is done for them; what else refuses
    stands inside the boundary that words refusals, and the body is read last, when nothing else
    speaks against the request.
    """
    cors = Middleware(
        Cors, allowed_origins=options.allowed_origins, api_key_header=options.api_key_header
    )
    return [
        *([Middleware(Trace, tracer=options.tracer)] if options.tracer is not None else []),
        Middleware(
            Envelope,
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
        Middleware(PlainRequests),
        Middleware(CheckTarget),
        Middleware(RefuseCrossSite, allowed_origins=options.allowed_origins),
        Middleware(BodyLimit, limit=options.max_body_bytes),
        Middleware(HeadAsGet),
    ]
