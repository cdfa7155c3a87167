"""Principals, API keys and scopes."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType, Self, TypeAlias

from typing_extensions import override

from app.domain.customer import CustomerId, Role
from app.domain.outcome import InvalidApiKey, InvalidToken
from app.domain.session import SessionId

ApiKeyId = NewType("ApiKeyId", str)


class Scope(StrEnum):
    """A permission of an API key."""

    CUSTOMERS_READ = "customers:read"
    CUSTOMERS_WRITE = "customers:write"
    FAVORITES_READ = "favorites:read"
    FAVORITES_WRITE = "favorites:write"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionCheck:
    """A session of a valid token; a statement has to find it active `at` a moment."""

    session_id: SessionId
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerPrincipal:
    """A customer who signed in, in one of their sessions."""

    customer_id: CustomerId
    session_id: SessionId
    role: Role

    @property
    def is_admin(self) -> bool:
        """Whether this is an administrator."""
        return self.role is Role.ADMIN


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePrincipal:
    """An internal system that presented an API key, or a token issued for one."""

    key_id: ApiKeyId
    scopes: frozenset[Scope]


Principal: TypeAlias = CustomerPrincipal | ServicePrincipal


def session_ended() -> InvalidToken:
    """Return the outcome for a session that is not active, or not the customer's."""
    return InvalidToken("The session has ended")


_KEY = re.compile(r"aiq_([a-z0-9]{1,32})_([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedApiKey:
    """An API key in the clear: `aiq_<id>_<secret>`, the secret 256 bits in hexadecimal."""

    id: ApiKeyId
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Parse a key.

        :raises InvalidApiKey: if it is malformed
        """
        match = _KEY.fullmatch(text)
        if match is None:
            raise InvalidApiKey("This is not an API key")
        return cls(id=ApiKeyId(match[1]), secret=match[2])

    @override
    def __str__(self) -> str:
        return f"aiq_{self.id}_{self.secret}"

    @property
    def secret_hash(self) -> bytes:
        """The stored form of the secret; 256 random bits need no slow hash."""
        return hashlib.sha256(self.secret.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """
    A key of an internal system as it is stored; the secret itself is shown once, when it is made.
    """

    id: ApiKeyId
    name: str
    secret_hash: bytes = field(repr=False)
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def usable(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def opened_by(self, presented: PresentedApiKey) -> bool:
        """Whether the secret is the right one, compared in constant time."""
        return hmac.compare_digest(self.secret_hash, presented.secret_hash)

    @property
    def principal(self) -> ServicePrincipal:
        """The principal that acts with this key."""
        return ServicePrincipal(key_id=self.id, scopes=self.scopes)
