"""The HTTP client for the catalog."""

from http.cookiejar import CookieJar
from typing import Any

import httpx2
from typing_extensions import override

from app.infra.fakestore.catalog_response import ACCEPTED_ENCODING
from app.infra.fakestore.options import CatalogOptions


def create_client(
    base_url: str,
    options: CatalogOptions,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> httpx2.AsyncClient:
    """
    Create the client; the caller closes it.

    `base_url` may have a path, with or without a trailing slash. `transport` replaces the network.
    """
    return httpx2.AsyncClient(
        base_url=base_url,
        transport=transport,
        # Loading the CA certificates takes 50 ms. Without TLS they are never used, because
        # redirects are not followed.
        verify=not base_url.startswith("http:"),
        headers={
            "Accept": "application/json",
            "Accept-Encoding": ACCEPTED_ENCODING,
            "User-Agent": options.user_agent,
        },
        # These apply to each phase of a request; `FakeStoreCatalog` limits the whole call.
        timeout=httpx2.Timeout(options.deadline_s, connect=options.connect_timeout_s),
        limits=httpx2.Limits(
            max_connections=options.max_concurrent,
            max_keepalive_connections=options.max_concurrent,
            keepalive_expiry=options.keepalive_s,
        ),
        cookies=_NoCookies(),
        follow_redirects=False,
        event_hooks={"response": [_drop_location]},
        trust_env=False,
    )


class _NoCookies(CookieJar):
    """A jar that ignores cookies without parsing them."""

    @override
    def extract_cookies(self, response: Any, request: Any) -> None:
        pass


async def _drop_location(response: httpx2.Response) -> None:
    # The client parses the target of a redirect even if it does not follow it. For "http://xn--0..0"
    # or ":a:?b" it raises an exception that is not an HTTPError.
    response.headers.pop("location", None)
