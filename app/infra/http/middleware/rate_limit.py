"""
A limit on the requests of everybody.

Fields as in draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` is the rule, `RateLimit`
what is left of it (`r`) and in how many seconds there is more (`t`).
"""

import math
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.access import CustomerPrincipal, Principal, ServicePrincipal
from app.domain.outcome import DomainError, RateLimited
from app.infra.http.middleware.client_address import UNKNOWN, client_ip
from app.infra.http.problem import problem_response
from app.infra.http.rate_limit.limiter import Admission, RateLimiter

POLICY = "default"
UNCOUNTED = ("/health", "/docs", "/redoc", "/openapi.json", "/problems")


class RateLimit:
    """
    Count each request before anything is done for it, and refuse it over the limit.

    `recognize` tells in whose name it is made. Those it knows are counted by customer or key,
    wherever they ask from; everybody else, wrong credentials included, by address. Of an IPv6
    address the first 64 bits count: that much every client has for itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limiter: RateLimiter,
        recognize: Callable[[Request], Awaitable[Principal | None]],
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._recognize = recognize
        rule = limiter.rule
        window_s = math.ceil(rule.window.total_seconds())
        self._policy = f'"{POLICY}";q={rule.limit};w={window_s}'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or _is_uncounted(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            admission = await self._admit(Request(scope))
        except DomainError as problem:
            await problem_response(scope, problem)(scope, receive, send)
            return
        send = self._telling(admission, send)
        if admission.accepted:
            await self._app(scope, receive, send)
        else:
            refusal = RateLimited("Too many requests", retry_after=admission.reset)
            await problem_response(scope, refusal)(scope, receive, send)

    async def _admit(self, request: Request) -> Admission:
        match await self._recognize(request):
            case CustomerPrincipal(customer_id=customer_id):
                key = f"customer:{customer_id}"
            case ServicePrincipal(key_id=key_id):
                key = f"key:{key_id}"
            case None:
                key = f"ip:{_network(client_ip(request))}"
        return await self._limiter.admit(key)

    def _telling(self, admission: Admission, send: Send) -> Send:
        # As Retry-After, which is never 0.
        reset_s = max(1, math.ceil(admission.reset.total_seconds()))
        left = f'"{POLICY}";r={admission.remaining};t={reset_s}'

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = self._policy
                headers["RateLimit"] = left
            await send(message)

        return send_with_fields


def _is_uncounted(path: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in UNCOUNTED)


def _network(address: str) -> str:
    if address == UNKNOWN:
        return address
    parsed = ip_address(address)
    return str(
        ip_network((parsed, 64), strict=False) if isinstance(parsed, IPv6Address) else parsed
    )
