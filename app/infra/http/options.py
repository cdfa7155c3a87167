"""What the HTTP adapter has to be told; the composition root makes it from the settings."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network


async def _always_ready() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """
    Everything about HTTP that differs between installations.

    `cursor_keys` sign the cursors of pages; the first signs, all are accepted, so that a key can
    be exchanged without breaking pages that are being read. `allowed_origins` are exact
    (`https://shop.example`). `trusted_proxies` are those whose `X-Forwarded-For` is believed.
    `product_max_age` is how long others may keep a product (the soft TTL). `ready` returns if the
    service can do its work, and raises `Unavailable` otherwise.
    """

    cursor_keys: Sequence[bytes] = field(repr=False)
    api_key_header: str = "x-aiqfome-api-key"
    cookie_secure: bool = True
    docs_enabled: bool = True
    allowed_origins: frozenset[str] = frozenset()
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()
    max_body_bytes: int = 64 * 1024
    product_max_age: timedelta = timedelta(minutes=5)
    ready: Callable[[], Awaitable[None]] = _always_ready

    def __post_init__(self) -> None:
        if not self.cursor_keys or min(map(len, self.cursor_keys)) < 32:
            raise ValueError("There has to be a cursor key, and each has at least 32 bytes")
