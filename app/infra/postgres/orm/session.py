from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, LargeBinary, Text, UniqueConstraint, text
from sqlmodel import Field

from app.domain.session import RefreshToken, RefreshTokenHash, Session, SessionId
from app.infra.postgres.orm.row import Row, UtcDateTime

OVER_SINCE = text("LEAST(ended_at, idle_expires_at, expires_at)")
"""The moment from which a session gives no access; LEAST ignores nulls."""


class SessionRow(Row, table=True):
    __tablename__ = "sessions"
    __table_args__ = (
        Index(None, "customer_id"),
        Index("ix_sessions_over_since", OVER_SINCE),
    )

    id: UUID = Field(primary_key=True)
    customer_id: UUID = Field(foreign_key="customers.id", ondelete="CASCADE")
    device: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    last_used_at: datetime = Field(sa_type=UtcDateTime)
    idle_expires_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(sa_type=UtcDateTime)

    @classmethod
    def from_entity(cls, session: Session) -> "SessionRow":
        return cls(
            id=session.id,
            customer_id=session.customer_id,
            device=session.device,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            idle_expires_at=session.idle_expires_at,
            expires_at=session.expires_at,
            ended_at=session.ended_at,
        )


class RefreshTokenRow(Row, table=True):
    __tablename__ = "refresh_tokens"
    __table_args__ = (
        # A token has one successor. The row lock ensures that, and this constraint too.
        UniqueConstraint("predecessor"),
        Index(None, "session_id"),
    )

    hash: bytes = Field(sa_type=LargeBinary, primary_key=True)
    session_id: UUID = Field(foreign_key="sessions.id", ondelete="CASCADE")
    predecessor: bytes | None = Field(sa_type=LargeBinary)
    issued_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(sa_type=UtcDateTime)

    @classmethod
    def from_entity(cls, token: RefreshToken) -> "RefreshTokenRow":
        return cls(
            hash=token.hash,
            session_id=token.session_id,
            predecessor=token.predecessor,
            issued_at=token.issued_at,
            used_at=token.used_at,
        )

    def to_entity(self) -> RefreshToken:
        return RefreshToken(
            hash=RefreshTokenHash(self.hash),
            session_id=SessionId(self.session_id),
            predecessor=None if self.predecessor is None else RefreshTokenHash(self.predecessor),
            issued_at=self.issued_at,
            used_at=self.used_at,
        )
