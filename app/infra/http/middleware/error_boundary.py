"""The conversion of exceptions into problem responses."""

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.outcome import DomainError
from app.infra.http.middleware.request_context import response_started
from app.infra.http.problem import InternalError, RequestError, problem_response

logger = structlog.stdlib.get_logger(__name__)


class ErrorBoundary:
    """
    Answer exceptions of the routes and of inner middleware with problem documents.

    Any exception that is not an outcome is a bug: it is logged once with its stack trace, and the
    response contains no details.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except (DomainError, RequestError) as problem:
            if response_started(scope):
                raise
            await problem_response(scope, problem)(scope, receive, send)
        except Exception:
            logger.exception("unhandled_error")
            # A started response cannot be replaced. The server closes the connection when the
            # response ends early, which tells the client that it is incomplete.
            if not response_started(scope):
                internal = InternalError("The error has been logged under this request id.")
                await problem_response(scope, internal)(scope, receive, send)
