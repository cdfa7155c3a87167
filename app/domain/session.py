"""
Sessions: a family of refresh tokens that begins with a sign-in.

Each refresh invalidates a token and issues its successor (RFC 9700, section 4.14.2). A token that
is presented a second time may have been stolen: the family ends. The immediate predecessor is an
exception for a short grace period while its successor is unused: the response to the first refresh
may have been lost.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import NewType, Self
from uuid import UUID

from app.domain.customer import CustomerId

SessionId = NewType("SessionId", UUID)
RefreshTokenHash = NewType("RefreshTokenHash", bytes)

DEVICE_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPolicy:
    """
    How long a session lasts without use and at most, and how long a predecessor is accepted.
    """

    idle: timedelta
    absolute: timedelta
    grace: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sign-in of a customer on one device; `device` is the `User-Agent` of its client."""

    id: SessionId
    customer_id: CustomerId
    device: str
    created_at: datetime
    last_used_at: datetime
    idle_expires_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None

    @classmethod
    def begin(
        cls,
        *,
        id: SessionId,
        customer_id: CustomerId,
        device: str,
        policy: SessionPolicy,
        now: datetime,
    ) -> Self:
        """Open a session now."""
        return cls(
            id=id,
            customer_id=customer_id,
            device="".join(c for c in device if c.isprintable())[:DEVICE_MAX],
            created_at=now,
            last_used_at=now,
            idle_expires_at=now + min(policy.idle, policy.absolute),
            expires_at=now + policy.absolute,
        )

    def active(self, now: datetime) -> bool:
        """Whether the session gives access."""
        return self.ended_at is None and now < min(self.idle_expires_at, self.expires_at)

    def used(self, *, policy: SessionPolicy, now: datetime) -> Self:
        """Return this session with its idle expiry extended."""
        return replace(
            self, last_used_at=now, idle_expires_at=min(now + policy.idle, self.expires_at)
        )

    def ended(self, now: datetime) -> Self:
        """Return this session without access."""
        return self if self.ended_at is not None else replace(self, ended_at=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A refresh token as it is stored: its hash, and the one it succeeded."""

    hash: RefreshTokenHash = field(repr=False)
    session_id: SessionId
    predecessor: RefreshTokenHash | None = field(repr=False)
    issued_at: datetime
    used_at: datetime | None = None


class Rotation(Enum):
    """How to answer a presented refresh token."""

    ROTATE = auto()
    REPEAT = auto()
    REUSED = auto()
    EXPIRED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshFamily:
    """A session with the refresh token that was presented and its successor, if it has one."""

    session: Session
    presented: RefreshToken
    successor: RefreshToken | None

    def rotation(self, policy: SessionPolicy, *, now: datetime) -> Rotation:
        """Decide how to answer the presented token."""
        if not self.session.active(now):
            return Rotation.EXPIRED
        if self.presented.used_at is None:
            return Rotation.ROTATE
        in_grace = now - self.presented.used_at <= policy.grace
        if in_grace and self.successor is not None and self.successor.used_at is None:
            return Rotation.REPEAT
        return Rotation.REUSED
