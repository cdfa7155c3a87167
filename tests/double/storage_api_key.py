from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from typing_extensions import override

from app.domain.access import ApiKey, ApiKeyId
from app.domain.repository import ApiKeyRepository
from tests.double.storage_table import Transaction


@dataclass(frozen=True, slots=True)
class InMemoryApiKeyRepository(ApiKeyRepository):
    _transaction: Transaction

    @override
    async def add(self, key: ApiKey) -> None:
        self._transaction.tables.api_keys[key.id] = key

    @override
    async def revoke(self, key_id: ApiKeyId, *, now: datetime) -> bool:
        key = await self._lock(key_id)
        if key is None or key.revoked_at is not None:
            return False
        self._transaction.tables.api_keys[key_id] = replace(key, revoked_at=now)
        return True

    @override
    async def touch(self, key_id: ApiKeyId, *, now: datetime, granularity: timedelta) -> None:
        key = await self._lock(key_id)
        if key is None:
            return
        if key.last_used_at is None or key.last_used_at <= now - granularity:
            self._transaction.tables.api_keys[key_id] = replace(key, last_used_at=now)

    async def _lock(self, key_id: ApiKeyId) -> ApiKey | None:
        await self._transaction.lock("api key", key_id)
        return self._transaction.tables.api_keys.get(key_id)
