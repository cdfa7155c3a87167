import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from typing_extensions import override

from app.application.throttle import too_many_attempts
from app.domain.customer import Customer, PasswordHash
from app.domain.session import RefreshToken, Session
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule
from app.domain.writes import SignInWrites
from app.infra.postgres.failure import storage_failures
from app.infra.postgres.rows import CUSTOMER_COLUMNS, read_customer
from app.infra.postgres.statement_pool import StatementPool

_TAKE = f"""
    SELECT t.wait, {CUSTOMER_COLUMNS}
    FROM take_attempts($1, $2, $3, $4) AS t (wait) LEFT JOIN customers AS c ON c.email_key = $5
"""  # noqa: S608 - constants
_BEGIN = f"""
    SELECT {CUSTOMER_COLUMNS}
    FROM begin_session($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS c
"""  # noqa: S608 - constants


class PostgresSignInWrites(SignInWrites):
    """
    The writes of signing in, each one call of an SQL function.

    They may wait for locks, so they have connections of their own.
    """

    def __init__(self, pool: StatementPool, *, patience: timedelta) -> None:
        """Prepare writes that are done within `patience` or fail."""
        self._pool = pool
        self._patience_s = patience.total_seconds()

    @override
    async def take_attempts(
        self, email_key: str, *rules: tuple[ThrottleKey, ThrottleRule], now: datetime
    ) -> tuple[Sequence[Attempt], Customer | None]:
        keys = [key for key, _ in rules]
        [(wait, *columns)] = await self._fetch(
            _TAKE,
            keys,
            [rule.limit for _, rule in rules],
            [now - rule.window for _, rule in rules],
            now,
            email_key,
        )
        if wait is not None:
            raise too_many_attempts(wait)
        customer = None if columns[0] is None else read_customer(*columns)
        return [Attempt(key=key, at=now) for key in keys], customer

    @override
    async def begin_session(
        self,
        session: Session,
        token: RefreshToken,
        *,
        password_hash: PasswordHash,
        attempts: Sequence[Attempt],
    ) -> Customer | None:
        rows = await self._fetch(
            _BEGIN,
            session.customer_id,
            password_hash,
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
        return read_customer(*rows[0]) if rows else None

    async def _fetch(self, statement: str, *values: object) -> Sequence[Any]:
        with storage_failures():
            async with asyncio.timeout(self._patience_s):
                return await self._pool.fetch(statement, *values)
