from dataclasses import dataclass
from datetime import datetime

from typing_extensions import override

from app.domain.customer import CustomerId
from app.domain.repository import SessionRepository
from app.domain.session import (
    RefreshFamily,
    RefreshToken,
    RefreshTokenHash,
    Session,
    SessionId,
)
from tests.double.storage_table import Transaction


@dataclass(frozen=True, slots=True)
class InMemorySessionRepository(SessionRepository):
    _transaction: Transaction

    @override
    async def get(self, session_id: SessionId) -> Session | None:
        return self._transaction.tables.sessions.get(session_id)

    @override
    async def save(self, session: Session) -> None:
        if await self._lock(session.id) is not None:
            self._transaction.tables.sessions[session.id] = session

    async def _lock(self, session_id: SessionId) -> Session | None:
        await self._transaction.lock("session", session_id)
        return await self.get(session_id)

    @override
    async def lock_family(self, token_hash: RefreshTokenHash) -> RefreshFamily | None:
        presented = self._transaction.tables.tokens.get(token_hash)
        if presented is None:
            return None
        session = await self._lock(presented.session_id)
        # Read again: the previous holder of the lock may have used the token, or erased it.
        tokens = self._transaction.tables.tokens
        presented = tokens.get(token_hash)
        if session is None or presented is None:
            return None
        followers = (token for token in tokens.values() if token.predecessor == token_hash)
        return RefreshFamily(session=session, presented=presented, successor=next(followers, None))

    @override
    async def add_token(self, token: RefreshToken) -> None:
        self._transaction.tables.tokens[token.hash] = token

    @override
    async def save_token(self, token: RefreshToken) -> None:
        if token.hash in self._transaction.tables.tokens:
            self._transaction.tables.tokens[token.hash] = token

    @override
    async def end_all(
        self, customer_id: CustomerId, *, now: datetime, keep: SessionId | None = None
    ) -> int:
        ended, sessions = 0, self._transaction.tables.sessions
        for session_id in sorted(s.id for s in sessions.values() if s.customer_id == customer_id):
            session = await self._lock(session_id)
            if session is not None and session.active(now) and session_id != keep:
                sessions[session_id] = session.ended(now)
                ended += 1
        return ended

    @override
    async def purge(self, *, before: datetime) -> int:
        tables = self._transaction.tables
        old = {s.id for s in tables.sessions.values() if _over_since(s) < before}
        for session_id in sorted(old):
            await self._transaction.lock("session", session_id)
            tables.sessions.pop(session_id, None)
        for token in list(tables.tokens.values()):
            if token.session_id in old:
                del tables.tokens[token.hash]
        return len(old)


def _over_since(session: Session) -> datetime:
    over = min(session.idle_expires_at, session.expires_at)
    return over if session.ended_at is None else min(over, session.ended_at)
