"""The HTTP client for the catalog."""

from http.cookiejar import CookieJar
from typing import Any

import httpx2
from typing_extensions import override

from app.infra.fakestore.answer import ACCEPTED_ENCODING
from app.infra.fakestore.options import CatalogOptions


def create_client(
    base_url: str,
    options: CatalogOptions,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> httpx2.AsyncClient:
    """
    Make the client of a catalog, to be closed by the caller.

    `base_url` may have a path, with or without a slash at its end. `transport` takes the place of
    the network.
    """
    return httpx2.AsyncClient(
        base_url=base_url,
        transport=transport,
        # Reading the certificates of all authorities takes a twentieth of a second; where there is
        # no TLS, and redirects are not followed, nothing is compared with them.
        verify=not base_url.startswith("http:"),
        headers={
            "Accept": "application/json",
            "Accept-Encoding": ACCEPTED_ENCODING,
            "User-Agent": options.user_agent,
        },
        # The end of the whole call is seen to elsewhere; these are per phase.
        timeout=httpx2.Timeout(options.deadline_s, connect=options.connect_timeout_s),
        limits=httpx2.Limits(
            max_connections=options.max_concurrent,
            max_keepalive_connections=options.max_concurrent,
            keepalive_expiry=options.keepalive_s,
        ),
        cookies=_NoCookies(),
        follow_redirects=False,
        event_hooks={"response": [_forget_location]},
        trust_env=False,
    )


class _NoCookies(CookieJar):
    """Keeps nothing."""

    @override
    def extract_cookies(self, response: Any, request: Any) -> None:
        pass


async def _forget_location(response: httpx2.Response) -> None:
    # The client looks at where a redirect points even if it does not follow it, and raises what
    # is no HTTPError for "http://xn--0..0" or ":a:?b".
    response.headers.pop("location", None)
