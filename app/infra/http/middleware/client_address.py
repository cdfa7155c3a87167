"""The address a request really comes from."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import TypeAlias, cast

from starlette.requests import Request

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

UNKNOWN = "unknown"

_KNOWN_AGAIN_MAX = 100


def client_ip(request: Request) -> str:
    """Return the address of whoever asks, for throttles; `unknown` behind a local socket."""
    return cast(str, request.state.client_ip)


def find_client(
    peer: tuple[str, int] | None, forwarded_for: Sequence[bytes], *, trusted: tuple[Network, ...]
) -> str:
    """
    Find out the client's address, believing `X-Forwarded-For` only as far as proxies wrote it.

    Each proxy appends whom it got the request from, so the list is read from its end: the first
    address that is no trusted proxy is the client. What stands before it is the client's claim.
    """
    host = peer[0] if peer else UNKNOWN
    if not forwarded_for or not trusted:
        address, _ = _peer(host, ())
        return UNKNOWN if address is None else str(address)
    hops = b",".join(forwarded_for)
    # What is long is nothing that comes again, and would fill the memory.
    find = _forwarded if len(hops) <= _KNOWN_AGAIN_MAX else _forwarded.__wrapped__
    return find(host, hops, trusted)


# Proxies and clients come again and again; what a client may invent is bounded in number.
@lru_cache(maxsize=1024)
def _peer(host: str, trusted: tuple[Network, ...]) -> tuple[Address | None, bool]:
    """Return the address, and whether what it says of others is believed."""
    address = _parse(host)
    return address, address is not None and any(address in network for network in trusted)


@lru_cache(maxsize=4096)
def _forwarded(host: str, forwarded_for: bytes, trusted: tuple[Network, ...]) -> str:
    client, believed = _peer(host, trusted)
    if client is None:
        return UNKNOWN
    hops = forwarded_for.decode("latin-1").split(",")
    while hops and believed:
        # What cannot be read is no address a trusted proxy wrote; nor is what stands before.
        earlier = _parse(hops.pop())
        if earlier is None:
            break
        client = earlier
        believed = bool(hops) and any(client in network for network in trusted)
    return str(client)


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
