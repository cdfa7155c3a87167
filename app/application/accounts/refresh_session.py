import logging
from dataclasses import dataclass, replace

from app.application.ports import Clock, RefreshTokenSource, TokenIssuer
from app.application.signed_in import SignedIn, signed_in
from app.domain.outcome import InvalidRefreshToken
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from app.domain.session import RefreshFamily, RefreshToken, Rotation, SessionPolicy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshSession:
    """Exchange a refresh token for its successor and an access token (RFC 9700, 4.14.2)."""

    uow: UnitOfWorkFactory
    tokens: TokenIssuer
    refresh_tokens: RefreshTokenSource
    policy: SessionPolicy
    clock: Clock

    async def __call__(self, *, refresh_token: str) -> SignedIn:
        """
        Continue a session.

        A token that is presented again after the grace period ends the session; that is committed.

        :raises InvalidRefreshToken: if the token is unknown, expired, or used before
        """
        now = self.clock()
        async with self.uow() as work:
            family = await work.sessions.lock_family(self.refresh_tokens.hash(refresh_token))
            if family is None:
                raise InvalidRefreshToken("The refresh token is not valid")
            match family.rotation(self.policy, now=now):
                case Rotation.ROTATE:
                    successor = await self._rotate(work, family, refresh_token)
                case Rotation.REPEAT:
                    successor = self._issued_successor(family, refresh_token)
                case Rotation.REUSED:
                    await work.sessions.save(family.session.ended(now))
                    await work.commit()
                    logger.warning(
                        "refresh_token_reused",
                        extra={
                            "customer_id": str(family.session.customer_id),
                            "session_id": str(family.session.id),
                        },
                    )
                    raise InvalidRefreshToken("The refresh token has been used before")
                case Rotation.EXPIRED:
                    raise InvalidRefreshToken("The session has ended")
            session = family.session.used(policy=self.policy, now=now)
            await work.sessions.save(session)
            customer = await work.customers.get(session.customer_id)
            if customer is None:
                raise InvalidRefreshToken("The session has ended")
            await work.commit()
        return signed_in(customer, session, refresh_token=successor, tokens=self.tokens, now=now)

    async def _rotate(self, work: UnitOfWork, family: RefreshFamily, presented: str) -> str:
        now = self.clock()
        successor = self.refresh_tokens.successors(presented)[0]
        await work.sessions.save_token(replace(family.presented, used_at=now))
        await work.sessions.add_token(
            RefreshToken(
                hash=self.refresh_tokens.hash(successor),
                session_id=family.session.id,
                predecessor=family.presented.hash,
                issued_at=now,
            )
        )
        return successor

    def _issued_successor(self, family: RefreshFamily, presented: str) -> str:
        # The keys may have been rotated since: find the one that made the stored token.
        for candidate in self.refresh_tokens.successors(presented):
            stored = family.successor
            if stored is not None and self.refresh_tokens.hash(candidate) == stored.hash:
                return candidate
        raise InvalidRefreshToken("The refresh token has been used before")
