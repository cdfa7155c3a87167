from dataclasses import dataclass
from datetime import datetime, timedelta

from typing_extensions import override

from app.domain.repository import ThrottleRepository
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule
from tests.double.storage_table import Transaction


@dataclass(frozen=True, slots=True)
class InMemoryThrottleRepository(ThrottleRepository):
    _transaction: Transaction

    @override
    async def take(
        self, key: ThrottleKey, rule: ThrottleRule, *, now: datetime
    ) -> Attempt | timedelta:
        attempts = await self._lock(key)
        counted = [at for at in attempts if at > now - rule.window]
        if len(counted) >= rule.limit:
            # There is room again when all but `limit - 1` of them have left the window.
            return counted[-rule.limit] + rule.window - now
        self._transaction.tables.attempts[key] = tuple(sorted([*attempts, now]))
        return Attempt(key=key, at=now)

    @override
    async def give_back(self, attempt: Attempt) -> None:
        attempts = list(await self._lock(attempt.key))
        if attempt.at in attempts:
            attempts.remove(attempt.at)
            self._transaction.tables.attempts[attempt.key] = tuple(attempts)

    @override
    async def forget(self, key: ThrottleKey) -> None:
        await self._lock(key)
        self._transaction.tables.attempts.pop(key, None)

    @override
    async def purge(self, *, before: datetime) -> int:
        purged = 0
        for key in sorted(self._transaction.tables.attempts):
            attempts = await self._lock(key)
            if not attempts or attempts[-1] < before:
                self._transaction.tables.attempts.pop(key, None)
                purged += 1
        return purged

    async def _lock(self, key: ThrottleKey) -> tuple[datetime, ...]:
        await self._transaction.lock("throttle", key)
        return self._transaction.tables.attempts.get(key, ())
