"""The lookup of direct routes."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.http.route import DirectRoute

_KEPT, _PATH_LENGTH = 8_192, 128


class Dispatch:
    """
    Pass a request to its direct route, or on to FastAPI; the innermost middleware.

    An index replaces trying one route after the other, and its results are cached. Direct routes
    do not need the two layers of middleware around FastAPI's router, which handles all other
    requests, including unknown paths and unsupported methods.
    """

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._index: dict[tuple[str, int], list[DirectRoute]] = {}
        for route in routes:
            # FastAPI's middleware handles the exceptions that dependencies may raise.
            if isinstance(route, DirectRoute) and not route.dependant.dependencies:
                self._index.setdefault(_key(route.path_format), []).append(route)
        self._find = lru_cache(_KEPT)(self._search)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            path = scope["path"]
            find = self._find if len(path) <= _PATH_LENGTH else self._search
            found = find(scope["method"], path)
            if found is not None:
                route, path_params = found
                scope["route"], scope["path_params"] = route, path_params
                await route.app(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _search(self, method: str, path: str) -> tuple[DirectRoute, dict[str, Any]] | None:
        scope = {"type": "http", "method": method, "path": path}
        for route in self._index.get(_key(path), ()):
            match, found = route.matches(scope)
            if match is Match.FULL:
                return route, found["path_params"]
        return None


def _key(path: str) -> tuple[str, int]:
    """Return the first segment of a path and the number of its segments."""
    segments = path.split("/")
    return segments[1] if len(segments) > 1 else "", len(segments)
