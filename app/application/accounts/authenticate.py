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
    SessionCheck,
    session_ended,
)
from app.domain.outcome import InvalidApiKey, InvalidToken
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)

_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticate:
    """
    Identify the caller by an access token or an API key.

    `development_key` is accepted without being stored, so that it cannot be left behind in a
    database; production has none.
    """

    queries: Queries
    uow: UnitOfWorkFactory
    tokens: TokenIssuer
    clock: Clock
    development_key: ApiKey | None = None

    def verify(self, token: str) -> Principal:
        """
        Return the principal that a token names; their session or key may have ended since.

        :raises InvalidToken: if the token is not one of ours or has expired
        """
        return self.tokens.verify(token, now=self.clock())

    async def confirm(self, claimed: Principal) -> Principal:
        """
        Return the principal of a verified token with their current role or scopes.

        :raises InvalidToken: if the session or the key has ended
        """
        now = self.clock()
        if isinstance(claimed, ServicePrincipal):
            key = await self._key(claimed.key_id)
            if key is None or not key.usable(now):
                raise InvalidToken("The API key behind this token has ended")
            # A scope that the key has lost since, the token has lost too.
            return ServicePrincipal(key_id=key.id, scopes=claimed.scopes & key.scopes)
        principal = await self.queries.find_principal(claimed.session_id, now=now)
        if principal is None or principal.customer_id != claimed.customer_id:
            raise session_ended()
        return principal

    def session_check(self, claimed: CustomerPrincipal) -> SessionCheck:
        """Return the check of the session that a query or a write makes in its own statement."""
        return SessionCheck(session_id=claimed.session_id, at=self.clock())

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
        return await self.queries.find_api_key(key_id)

    async def _note_use(self, key: ApiKey) -> None:
        now = self.clock()
        if key.last_used_at is not None and now - key.last_used_at < _USE_NOTED_EVERY:
            return
        async with self.uow() as work:
            await work.api_keys.touch(key.id, now=now, granularity=_USE_NOTED_EVERY)
            await work.commit()
        logger.info("api_key_used", extra={"key_id": key.id})
