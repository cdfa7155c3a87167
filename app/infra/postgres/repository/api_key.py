from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import col, insert, or_, update
from typing_extensions import override

from app.domain.access import ApiKey, ApiKeyId
from app.domain.repository import ApiKeyRepository
from app.infra.postgres.orm.access import ApiKeyRow
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresApiKeyRepository(ApiKeyRepository):
    _transaction: Transaction

    @override
    async def add(self, key: ApiKey) -> None:
        await self._transaction.write(
            insert(ApiKeyRow).values(ApiKeyRow.from_entity(key).model_dump())
        )

    @override
    async def revoke(self, key_id: ApiKeyId, *, now: datetime) -> bool:
        revoked = await self._transaction.write(
            update(ApiKeyRow)
            .where(col(ApiKeyRow.id) == key_id, col(ApiKeyRow.revoked_at).is_(None))
            .values(revoked_at=now)
        )
        return revoked > 0

    @override
    async def touch(self, key_id: ApiKeyId, *, now: datetime, granularity: timedelta) -> None:
        last_used_at = col(ApiKeyRow.last_used_at)
        await self._transaction.write(
            update(ApiKeyRow)
            .where(
                col(ApiKeyRow.id) == key_id,
                or_(last_used_at.is_(None), last_used_at <= now - granularity),
            )
            .values(last_used_at=now)
        )
