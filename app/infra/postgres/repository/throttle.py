from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import DateTime, Integer, LargeBinary, bindparam, text
from sqlmodel import col, delete
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
        [(wait,)] = await self._transaction.sql(
            _TAKE, key=key, limit=rule.limit, begin=now - rule.window, now=now
        )
        return Attempt(key=key, at=now) if wait is None else wait

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

_TAKE = text("SELECT take_attempts(ARRAY[:key], ARRAY[:limit], ARRAY[:begin], :now)").bindparams(
    bindparam("key", type_=LargeBinary),
    bindparam("limit", type_=Integer),
    bindparam("begin", type_=_MOMENT),
    bindparam("now", type_=_MOMENT),
)

_GIVE_BACK = text("SELECT give_back_attempt(:key, :at)").bindparams(
    bindparam("key", type_=LargeBinary), bindparam("at", type_=_MOMENT)
)

_PURGE = text("""
    DELETE FROM throttles
    WHERE key IN (
        SELECT key FROM throttles
        WHERE coalesce(attempts[cardinality(attempts)] < :before, true)
        FOR UPDATE SKIP LOCKED
    )
    RETURNING key
""").bindparams(bindparam("before", type_=_MOMENT))
