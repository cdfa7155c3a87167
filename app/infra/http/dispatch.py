"""Finding the route of a request, without trying all of them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.http.route import DirectRoute

_KEPT, _PATH_LENGTH = 8_192, 128


class Dispatch:
    """
    The innermost layer of ours: passes a request to its direct route, or on to FastAPI.

    Paths are looked up in an index and kept. FastAPI's own router tries one route after the other,
    inside of two layers that direct routes do not need: it answers all other requests, those
    without a route and with a wrong method included.
    """

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._index: dict[tuple[str, int], list[DirectRoute]] = {}
        for route in routes:
            # Dependencies need FastAPI's layers around them.
            if isinstance(route, DirectRoute) and not route.dependant.dependencies:
                self._index.setdefault(_key(route.path_format), []).append(route)
        self._find = lru_cache(_KEPT)(self._search)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
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
