import logging
from dataclasses import dataclass
from datetime import timedelta

from app.application.ports import Clock, TokenIssuer
from app.domain.access import (
    ApiKey,
    ApiKeyId,
    CustomerPrincipal,
    PresentedApiKey,
    Principal,
    ServicePrincipal,
    SessionClaim,
    session_ended,
)
from app.domain.outcome import InvalidApiKey, InvalidToken
from app.domain.repository import Lookups, UnitOfWorkFactory

logger = logging.getLogger(__name__)

_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticate:
    """
    Find out who asks.

    `development_key` opens the service without being stored, so that it cannot be left behind in a
    database; production has none.
    """

    uow: UnitOfWorkFactory
    lookups: Lookups
    tokens: TokenIssuer
    clock: Clock
    development_key: ApiKey | None = None

    def claimed_by(self, token: str) -> Principal:
        """
        Return whom a token names, without asking whether their session or key still holds.

        :raises InvalidToken: if it is not ours or has expired
        """
        return self.tokens.verify(token, now=self.clock())

    async def by_token(self, token: str) -> Principal:
        """
        Return whom an access token stands for, as long as their session or key holds.

        :raises InvalidToken: if it is not ours, has expired, or its session or key has ended
        """
        return await self.confirmed(self.claimed_by(token))

    async def confirmed(self, claimed: Principal) -> Principal:
        """
        Return whom a token names as they are now, as long as their session or key holds.

        :raises InvalidToken: if it has ended
        """
        now = self.clock()
        if isinstance(claimed, ServicePrincipal):
            key = await self._key(claimed.key_id)
            if key is None or not key.usable(now):
                raise InvalidToken("The API key behind this token has ended")
            # What the key has lost since, the token has lost too.
            return ServicePrincipal(key_id=key.id, scopes=claimed.scopes & key.scopes)
        principal = await self.lookups.find_principal(claimed.session_id, now=now)
        if principal is None or principal.customer_id != claimed.customer_id:
            raise session_ended()
        return principal

    def claim(self, claimed: CustomerPrincipal) -> SessionClaim:
        """Return what has to hold now, for those who look at it beside what they are asked."""
        return SessionClaim(session_id=claimed.session_id, at=self.clock())

    async def by_api_key(self, text: str) -> ServicePrincipal:
        """
        Return the internal system that holds an API key.

        :raises InvalidApiKey: if it is malformed, unknown, wrong, revoked or expired
        """
        now = self.clock()
        presented = PresentedApiKey.parse(text)
        key = await self._key(presented.id)
        if key is None or not key.opened_by(presented) or not key.usable(now):
            logger.warning("api_key_refused", extra={"key_id": presented.id})
            raise InvalidApiKey("The API key is not valid")
        if key is not self.development_key:
            await self._note_use(key)
        return key.principal

    async def _key(self, key_id: ApiKeyId) -> ApiKey | None:
        if self.development_key is not None and key_id == self.development_key.id:
            return self.development_key
        async with self.uow() as work:
            return await work.api_keys.get(key_id)

    async def _note_use(self, key: ApiKey) -> None:
        now = self.clock()
        if key.last_used_at is not None and now - key.last_used_at < _USE_NOTED_EVERY:
            return
        async with self.uow() as work:
            await work.api_keys.touch(key.id, now=now, granularity=_USE_NOTED_EVERY)
            await work.commit()
        logger.info("api_key_used", extra={"key_id": key.id})
