"""Header fields that restrict what browsers and caches do with a response."""

from collections.abc import Sequence

_DEFAULTS = {
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Responses contain personal data unless the route says otherwise (RFC 9111, section 5.2.2.5).
    "Cache-Control": "no-store",
}
_HSTS = {"Strict-Transport-Security": "max-age=63072000; includeSubDomains"}


def security_headers(*, https_only: bool) -> Sequence[tuple[bytes, bytes]]:
    """Return the default fields of responses in the form of ASGI; a route may replace them."""
    headers = {**_DEFAULTS, **_HSTS} if https_only else _DEFAULTS
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
