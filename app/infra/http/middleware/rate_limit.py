"""
A rate limit for each caller.

Header fields as in draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` is the rule,
`RateLimit` the number of requests that remain (`r`) and the seconds until more do (`t`).
"""

import math
from collections.abc import Awaitable, Callable
from ipaddress import ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.access import CustomerPrincipal, Principal, ServicePrincipal
from app.domain.outcome import DomainError, RateLimited
from app.infra.http.problem import problem_response
from app.infra.http.rate_limit.limiter import RateLimiter

POLICY = "default"
UNCOUNTED = ("/health", "/docs", "/redoc", "/openapi.json", "/problems")


class RateLimit:
    """
    Count each request before any work is done for it, and refuse requests over the limit.

    `recognize` returns the caller. Requests with valid credentials are counted by customer or API
    key, from any address; all others by address. Of an IPv6 address the first 64 bits count,
    because each client has at least a network of that size.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limiter: RateLimiter,
        recognize: Callable[[Scope], Awaitable[Principal | None]],
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._recognize = recognize
        rule = limiter.rule
        window_s = math.ceil(rule.window.total_seconds())
        policy = f'"{POLICY}";q={rule.limit};w={window_s}'
        self._policy = (b"ratelimit-policy", policy.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or _is_uncounted(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            admission = await self._limiter.admit(await self._key(scope))
        except DomainError as problem:
            await problem_response(scope, problem)(scope, receive, send)
            return
        # Like Retry-After, never 0.
        reset_s = max(1, math.ceil(admission.reset.total_seconds()))
        remaining = f'"{POLICY}";r={admission.remaining};t={reset_s}'
        scope["state"]["fields"] += (self._policy, (b"ratelimit", remaining.encode()))
        if admission.accepted:
            await self._app(scope, receive, send)
        else:
            refusal = RateLimited("Too many requests", retry_after=admission.reset)
            await problem_response(scope, refusal)(scope, receive, send)

    async def _key(self, scope: Scope) -> str:
        match await self._recognize(scope):
            case CustomerPrincipal(customer_id=customer_id):
                return f"customer:{customer_id}"
            case ServicePrincipal(key_id=key_id):
                return f"key:{key_id}"
            case None:
                return f"ip:{_network(scope['state']['client_ip'])}"


def _is_uncounted(path: str) -> bool:
    # The first test is one call for most paths.
    return path.startswith(UNCOUNTED) and any(
        path == prefix or path.startswith(f"{prefix}/") for prefix in UNCOUNTED
    )


def _network(address: str) -> str:
    return str(ip_network((address, 64), strict=False)) if ":" in address else address
