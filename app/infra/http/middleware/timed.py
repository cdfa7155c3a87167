"""What is common to everything that looks at a request as a whole, when it has ended."""

from abc import ABC, abstractmethod
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Timed(ABC):
    """Lets requests pass, and is told of each when it has been answered, or given up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
            self._ended(scope, method=method, status=status, duration_s=perf_counter() - began)

    @abstractmethod
    def _ended(self, scope: Scope, *, method: str, status: int | None, duration_s: float) -> None:
        """Take note of a request; `method` is the client's, `status` None without an answer."""


def route_template(scope: Scope) -> str | None:
    """Return the path of the route that answered, with its parameters' names; None without one."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None
