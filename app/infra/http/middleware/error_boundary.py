"""The last place where an error becomes an answer."""

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.outcome import DomainError
from app.infra.http.middleware.envelope import has_begun
from app.infra.http.problem import InternalError, RequestError, problem_response

logger = structlog.stdlib.get_logger(__name__)


class ErrorBoundary:
    """
    Turn whatever is raised further in into a problem, the middleware's own refusals included.

    What is no outcome is a bug: logged once with its stack, answered without details.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except (DomainError, RequestError) as problem:
            if has_begun(scope):
                raise
            await problem_response(scope, problem)(scope, receive, send)
        except Exception:
            logger.exception("unhandled_error")
            # With half an answer sent, leaving without the rest makes the server drop the
            # connection, which is all the client can still be told.
            if not has_begun(scope):
                internal = InternalError("The error has been logged under this request id.")
                await problem_response(scope, internal)(scope, receive, send)
