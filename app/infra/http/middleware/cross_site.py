"""Requests that another site makes in the name of somebody who is signed in here."""

from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.outcome import CrossSiteRequest

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class RefuseCrossSite:
    """
    Refuse unsafe methods that a page of another site began.

    Browsers say where a request comes from in `Sec-Fetch-Site`, which no page can forge; a site's
    other subdomains are not trusted either. Browsers without it send `Origin` with every unsafe
    method. A client that sends neither is no browser and carries nobody's cookies by accident.
    """

    def __init__(self, app: ASGIApp, *, allowed_origins: AbstractSet[str]) -> None:
        self._app = app
        self._allowed = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            self._check(Headers(scope=scope))
        await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        sites = {site.strip().lower() for site in headers.getlist("sec-fetch-site")}
        if sites & {"cross-site", "same-site"}:
            raise CrossSiteRequest("The request was begun by a page of another site.")
        if sites and sites <= {"same-origin", "none"}:
            return
        for origin in headers.getlist("origin"):
            if origin not in self._allowed and not _is_own(origin, headers.get("host")):
                raise CrossSiteRequest("Pages of this origin may not change anything here.")


def _is_own(origin: str, host: str | None) -> bool:
    # The scheme is not compared: behind a proxy that ends TLS we do not know our own.
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(host) and parts.netloc == host
