import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.application.ports import Clock
from app.domain.access import ApiKey, ApiKeyId, PresentedApiKey, Scope
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageApiKeys:
    """Make, list and revoke the keys of internal systems."""

    uow: UnitOfWorkFactory
    clock: Clock
    new_key: Callable[[], PresentedApiKey]

    async def create(
        self, *, name: str, scopes: frozenset[Scope], lifetime: timedelta | None
    ) -> PresentedApiKey:
        """Make a key; what is returned cannot be had a second time."""
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
        async with self.uow() as work:
            return await work.api_keys.list_all()

    async def revoke(self, key_id: ApiKeyId) -> bool:
        """End a key at once; tell whether there was one to revoke."""
        async with self.uow() as work:
            revoked = await work.api_keys.revoke(key_id, now=self.clock())
            await work.commit()
        if revoked:
            logger.info("api_key_revoked", extra={"key_id": key_id})
        return revoked
