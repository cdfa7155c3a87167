"""Protection against cross-site request forgery."""

from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.outcome import CrossSiteRequest

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class RefuseCrossSite:
    """
    Refuse requests with unsafe methods that a page of another site initiated.

    Browsers name the origin of a request in `Sec-Fetch-Site`, which pages cannot forge; other
    subdomains of this site are not trusted either. Browsers without it send `Origin` with every
    unsafe method. A client that sends neither is not a browser, and does not add cookies by
    itself.
    """

    def __init__(self, app: ASGIApp, *, allowed_origins: AbstractSet[str]) -> None:
        self._app = app
        self._allowed = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            self._check(Headers(scope=scope))
        await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        sites = {site.strip().lower() for site in headers.getlist("sec-fetch-site")}
        if sites & {"cross-site", "same-site"}:
            raise CrossSiteRequest("A page of another site initiated the request.")
        if sites and sites <= {"same-origin", "none"}:
            return
        for origin in headers.getlist("origin"):
            if origin not in self._allowed and not _is_own(origin, headers.get("host")):
                raise CrossSiteRequest("Pages of this origin may not change anything here.")


def _is_own(origin: str, host: str | None) -> bool:
    # The scheme is not compared, because it is unknown behind a proxy that terminates TLS.
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(host) and parts.netloc == host
