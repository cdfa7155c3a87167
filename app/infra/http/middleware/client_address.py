"""The address a request really comes from."""

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import TypeAlias, cast

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

UNKNOWN = "unknown"


def client_ip(request: Request) -> str:
    """Return the address of whoever asks, for throttles; `unknown` behind a local socket."""
    return cast(str, request.state.client_ip)


class ClientAddress:
    """
    Find out the client's address, believing `X-Forwarded-For` only as far as proxies wrote it.

    Each proxy appends whom it got the request from, so the list is read from its end: the first
    address that is no trusted proxy is the client. What stands before it is the client's claim.
    """

    def __init__(self, app: ASGIApp, *, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            scope["state"]["client_ip"] = self._find(scope)
        await self._app(scope, receive, send)

    def _find(self, scope: Scope) -> str:
        peer = _parse((scope.get("client") or (UNKNOWN, 0))[0])
        if peer is None:
            return UNKNOWN
        client = peer
        hops = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
        while self._is_trusted(client) and hops:
            # What cannot be read is no address a trusted proxy wrote; nor is what stands before.
            earlier = _parse(hops.pop())
            if earlier is None:
                break
            client = earlier
        return str(client)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
