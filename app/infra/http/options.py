"""The options of the HTTP adapter; the composition root creates them from the settings."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from opentelemetry.trace import Tracer

from app.infra.http.middleware.access_log import RequestLog, log_through_structlog
from app.infra.http.rate_limit.limiter import RateLimiter


class RequestObserver(Protocol):
    """Observe each request after its response; must not block and must not raise."""

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
        Observe one request.

        `route` is the template of the path, None without a matching route. `status` is None if
        there was no response. `problem` is the code of the problem, None if it was not one.
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

    `cursor_keys` sign the cursors of pages: the first one signs and all are accepted, so that a
    key can be replaced while clients read pages. `allowed_origins` are exact
    (`https://shop.example`). `X-Forwarded-For` is used only from `trusted_proxies`. `ready`
    returns if the service can handle requests, and raises `Unavailable` otherwise. `limiter` is
    closed with the application. `log` and `observe` are called after every request; `tracer`
    records each as a span, None without traces.
    """

    cursor_keys: Sequence[bytes] = field(repr=False)
    api_key_header: str = "x-aiqfome-api-key"
    cookie_secure: bool = True
    docs_enabled: bool = True
    allowed_origins: frozenset[str] = frozenset()
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()
    max_body_bytes: int = 64 * 1024
    ready: Callable[[], Awaitable[None]] = _always_ready
    limiter: RateLimiter | None = field(default=None, repr=False)
    log: RequestLog = log_through_structlog
    observe: RequestObserver = _ignore
    tracer: Tracer | None = None

    def __post_init__(self) -> None:
        if not self.cursor_keys or min(map(len, self.cursor_keys)) < 32:
            raise ValueError("At least one cursor key is required, each of at least 32 bytes")
