"""What every request took, for whoever counts."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.http.middleware.access_log import route_template
from app.infra.http.options import RequestObserver


class Measure:
    """Tell the observer of every request when it has been answered, or given up."""

    def __init__(self, app: ASGIApp, *, observe: RequestObserver) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None
        method = scope["method"]
        began = perf_counter()

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            self._observe(
                method=method,
                route=route_template(scope),
                status=status,
                duration_s=perf_counter() - began,
            )
