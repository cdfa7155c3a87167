"""The address of the client, also behind proxies."""

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

_CACHED_LENGTH_MAX = 100


def client_ip(request: Request) -> str:
    """Return the client's address, for throttles; `unknown` behind a Unix socket."""
    return cast(str, request.state.client_ip)


def find_client(
    peer: tuple[str, int] | None, forwarded_for: Sequence[bytes], *, trusted: tuple[Network, ...]
) -> str:
    """
    Return the client's address, using only the part of `X-Forwarded-For` from trusted proxies.

    Each proxy appends the address that it got the request from. The list is read from its end: the
    first address that is not a trusted proxy is the client. Earlier ones could be forged.
    """
    host = peer[0] if peer else UNKNOWN
    if not forwarded_for or not trusted:
        address, _ = _peer(host, ())
        return UNKNOWN if address is None else str(address)
    hops = b",".join(forwarded_for)
    # Long lists rarely repeat, and would fill the cache.
    find = _forwarded if len(hops) <= _CACHED_LENGTH_MAX else _forwarded.__wrapped__
    return find(host, hops, trusted)


# Caches: the same proxies and clients send many requests. The sizes bound what clients can invent.
@lru_cache(maxsize=1024)
def _peer(host: str, trusted: tuple[Network, ...]) -> tuple[Address | None, bool]:
    """Return the address, and whether it is a trusted proxy."""
    address = _parse(host)
    return address, address is not None and any(address in network for network in trusted)


@lru_cache(maxsize=4096)
def _forwarded(host: str, forwarded_for: bytes, trusted: tuple[Network, ...]) -> str:
    client, is_proxy = _peer(host, trusted)
    if client is None:
        return UNKNOWN
    hops = forwarded_for.decode("latin-1").split(",")
    while hops and is_proxy:
        # A trusted proxy writes valid addresses: anything else and what precedes it is forged.
        earlier = _parse(hops.pop())
        if earlier is None:
            break
        client = earlier
        is_proxy = bool(hops) and any(client in network for network in trusted)
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
