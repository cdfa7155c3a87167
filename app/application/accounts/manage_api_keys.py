import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.application.ports import Clock
from app.domain.access import ApiKey, ApiKeyId, PresentedApiKey, Scope
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageApiKeys:
    """Create, list and revoke the keys of internal systems."""

    queries: Queries
    uow: UnitOfWorkFactory
    clock: Clock
    new_key: Callable[[], PresentedApiKey]

    async def create(
        self, *, name: str, scopes: frozenset[Scope], lifetime: timedelta | None
    ) -> PresentedApiKey:
        """Create a key; only this call returns its secret."""
        now, presented = self.clock(), self.new_key()
        key = ApiKey(
            id=presented.id,
            name=name,
            secret_hash=presented.secret_hash,
            scopes=scopes,
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
        )
        async with self.uow() as work:
            await work.api_keys.add(key)
            await work.commit()
        logger.info("api_key_created", extra={"key_id": key.id})
        return presented

    async def list_all(self) -> Sequence[ApiKey]:
        """Return every key, oldest first."""
        return await self.queries.list_api_keys()

    async def revoke(self, key_id: ApiKeyId) -> bool:
        """Revoke a key with immediate effect; tell whether there was one to revoke."""
        async with self.uow() as work:
            revoked = await work.api_keys.revoke(key_id, now=self.clock())
            await work.commit()
        if revoked:
            logger.info("api_key_revoked", extra={"key_id": key_id})
        return revoked
