import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from typing_extensions import override

from app.application.throttle import too_many_attempts
from app.domain.customer import Customer, CustomerId, Email, PasswordHash, Role
from app.domain.repository import SignIns
from app.domain.session import RefreshToken, Session
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule
from app.infra.postgres.failure import storage_failures
from app.infra.postgres.statement_pool import Lanes

_CUSTOMER = "c.id, c.name, c.email, c.password_hash, c.role, c.created_at, c.updated_at, c.version"
_ATTEMPT = f"""
    SELECT t.wait, {_CUSTOMER}
    FROM take_attempts($1, $2, $3, $4) AS t (wait) LEFT JOIN customers AS c ON c.email_key = $5
"""  # noqa: S608 - constants
_BEGIN = f"""
    SELECT {_CUSTOMER} FROM begin_session($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS c
"""  # noqa: S608 - constants


class PostgresSignIns(SignIns):
    """
    The sign-ins of one process, one statement for each step.

    On lanes of their own: who signs in may have to wait for a lock, and nobody else for that.
    """

    def __init__(self, lanes: Lanes, *, patience: timedelta) -> None:
        """Prepare steps that are done within `patience`, or not acknowledged."""
        self._lanes = lanes
        self._patience_s = patience.total_seconds()

    @override
    async def attempt(
        self, email_key: str, *rules: tuple[ThrottleKey, ThrottleRule], now: datetime
    ) -> tuple[Sequence[Attempt], Customer | None]:
        keys = [key for key, _ in rules]
        [(wait, *columns)] = await self._fetch(
            _ATTEMPT,
            keys,
            [rule.limit for _, rule in rules],
            [now - rule.window for _, rule in rules],
            now,
            email_key,
        )
        if wait is not None:
            raise too_many_attempts(wait)
        return [Attempt(key=key, at=now) for key in keys], _customer(*columns)

    @override
    async def begin(
        self,
        session: Session,
        token: RefreshToken,
        *,
        known: PasswordHash,
        attempts: Sequence[Attempt],
    ) -> Customer | None:
        rows = await self._fetch(
            _BEGIN,
            session.customer_id,
            known,
            session.id,
            session.device,
            session.created_at,
            session.last_used_at,
            session.idle_expires_at,
            session.expires_at,
            token.hash,
            token.issued_at,
            [attempt.key for attempt in attempts],
            [attempt.at for attempt in attempts],
        )
        return _customer(*rows[0]) if rows else None

    async def _fetch(self, statement: str, *values: object) -> Sequence[Any]:
        with storage_failures():
            async with asyncio.timeout(self._patience_s):
                return await self._lanes.fetch(statement, *values)


def _customer(id_: Any, name: str, email: str, *columns: Any) -> Customer | None:
    if id_ is None:
        return None
    password_hash, role, created_at, updated_at, version = columns
    return Customer(
        id=CustomerId(id_),
        name=name,
        email=Email(email),
        password_hash=password_hash,
        role=Role(role),
        created_at=created_at,
        updated_at=updated_at,
        version=version,
    )
