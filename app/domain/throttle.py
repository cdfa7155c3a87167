"""Throttles: how often something may be attempted within a sliding window."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NewType

from app.domain.customer import Email

ThrottleKey = NewType("ThrottleKey", bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleRule:
    """At most `limit` attempts within any `window`."""

    limit: int
    window: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A counted attempt, which is given back if it succeeds."""

    key: ThrottleKey
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessThrottles:
    """The rules for sign-in (failures) and sign-up (attempts); None switches one off."""

    sign_in_email: ThrottleRule | None
    sign_in_ip: ThrottleRule | None
    sign_up_ip: ThrottleRule | None

    @property
    def longest_window(self) -> timedelta:
        """How long attempts have to be kept at least."""
        rules = (self.sign_in_email, self.sign_in_ip, self.sign_up_ip)
        return max((rule.window for rule in rules if rule is not None), default=timedelta(0))


def email_key(purpose: str, email: Email) -> ThrottleKey:
    """Return the key of an address; hashed, so that the table holds no personal data."""
    return _key(f"{purpose}:email:{email.key}")


def device_key(purpose: str, device: str) -> ThrottleKey:
    """Return the key of a device that is known to an account."""
    return _key(f"{purpose}:device:{device}")


def ip_key(purpose: str, ip: str) -> ThrottleKey:
    """
    Return the key of a client's address.

    Of an IPv6 address the first 64 bits count: every client has a network of that size (RFC 6177).
    """
    return _key(f"{purpose}:ip:{_client(ip)}")


def _client(ip: str) -> str:
    try:
        address = ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address)


def _key(text: str) -> ThrottleKey:
    return ThrottleKey(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
