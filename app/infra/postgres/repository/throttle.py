from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import DateTime, Integer, LargeBinary, bindparam, text
from sqlmodel import col, delete, select
from typing_extensions import override

from app.domain.repository import ThrottleRepository
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule
from app.infra.postgres.orm.throttle import ThrottleRow
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresThrottleRepository(ThrottleRepository):
    _transaction: Transaction

    @override
    async def take(
        self, key: ThrottleKey, rule: ThrottleRule, *, now: datetime
    ) -> Attempt | timedelta:
        if await self._transaction.sql(
            _TAKE, key=key, now=now, begin=now - rule.window, limit=rule.limit
        ):
            return Attempt(key=key, at=now)
        # Refused or not, the statement has locked the row: this is what it counted.
        attempts = await self._transaction.first(
            select(ThrottleRow.attempts).where(ThrottleRow.key == key)
        )
        counted = [at for at in attempts or () if at > now - rule.window]
        # There is room again when all but `limit - 1` of them have left the window.
        wait: timedelta = counted[-rule.limit] + rule.window - now
        return wait

    @override
    async def give_back(self, attempt: Attempt) -> None:
        await self._transaction.sql(_GIVE_BACK, key=attempt.key, at=attempt.at)

    @override
    async def forget(self, key: ThrottleKey) -> None:
        await self._transaction.write(delete(ThrottleRow).where(col(ThrottleRow.key) == key))

    @override
    async def purge(self, *, before: datetime) -> int:
        return len(await self._transaction.sql(_PURGE, before=before))


_MOMENT = DateTime(timezone=True)

_TAKE = text("""
    INSERT INTO throttles AS t (key, attempts)
    VALUES (:key, ARRAY[:now])
    ON CONFLICT (key) DO UPDATE
    SET attempts = ARRAY(
        SELECT at FROM unnest(t.attempts || :now) AS at WHERE at > :begin ORDER BY at
    )
    WHERE (SELECT count(*) FROM unnest(t.attempts) AS at WHERE at > :begin) < :limit
    RETURNING key
""").bindparams(
    bindparam("key", type_=LargeBinary),
    bindparam("now", type_=_MOMENT),
    bindparam("begin", type_=_MOMENT),
    bindparam("limit", type_=Integer),
)

# One of several attempts at the same moment, not all of them.
_GIVE_BACK = text("""
    UPDATE throttles
    SET attempts = attempts[1 \\: array_position(attempts, :at) - 1]
                || attempts[array_position(attempts, :at) + 1 \\:]
    WHERE key = :key AND :at = ANY (attempts)
""").bindparams(bindparam("key", type_=LargeBinary), bindparam("at", type_=_MOMENT))

_PURGE = text("""
    DELETE FROM throttles
    WHERE key IN (
        SELECT key FROM throttles
        WHERE coalesce(attempts[cardinality(attempts)] < :before, true)
        FOR UPDATE SKIP LOCKED
    )
    RETURNING key
""").bindparams(bindparam("before", type_=_MOMENT))
