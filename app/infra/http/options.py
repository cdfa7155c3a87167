"""What the HTTP adapter has to be told; the composition root makes it from the settings."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from app.application.tracer import Tracer
from app.infra.http.middleware.access_log import RequestLog, log_as_any_line
from app.infra.http.rate_limit.limiter import RateLimiter


class RequestObserver(Protocol):
    """Hears of each request when it has been answered; must not block and must not raise."""

    def __call__(
        self,
        *,
        method: str,
        route: str | None,
        status: int | None,
        problem: str | None,
        duration_s: float,
    ) -> None:
        """
        `route` is the template of its path, `status` None if there was no answer.

        `problem` is the code of the problem that it was answered with, if it was one.
        """


def _ignore(
    *,
    method: str,
    route: str | None,
    status: int | None,
    problem: str | None,
    duration_s: float,
) -> None:
    pass


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
    service can do its work, and raises `Unavailable` otherwise. `limiter` bounds how much one
    client may ask; it is closed with the application. `log` and `observe` hear of every request,
    and so does `tracer`, if there is one.
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
    limiter: RateLimiter | None = field(default=None, repr=False)
    log: RequestLog = log_as_any_line
    observe: RequestObserver = _ignore
    tracer: Tracer | None = None

    def __post_init__(self) -> None:
        if not self.cursor_keys or min(map(len, self.cursor_keys)) < 32:
            raise ValueError("There has to be a cursor key, and each has at least 32 bytes")
