from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from typing_extensions import override

from app.domain.access import CustomerPrincipal
from app.domain.customer import CustomerId
from app.domain.outcome import CustomerNotFound
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
    async def add(self, session: Session, token: RefreshToken) -> None:
        await self._transaction.lock("customer", session.customer_id)
        if session.customer_id not in self._transaction.tables.customers:
            raise CustomerNotFound("There is no such customer")
        self._transaction.tables.sessions[session.id] = session
        await self.add_token(token)

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
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        session = await self.get(session_id)
        if session is None or not session.active(now):
            return None
        customer = self._transaction.tables.customers[session.customer_id]
        return CustomerPrincipal(
            customer_id=customer.id, session_id=session.id, role=customer.role
        )

    @override
    async def lock_family(self, token_hash: RefreshTokenHash) -> RefreshFamily | None:
        presented = self._transaction.tables.tokens.get(token_hash)
        if presented is None:
            return None
        session = await self._lock(presented.session_id)
        # Read again: the holder before us may have used the token, or erased it.
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
    async def list_active(self, customer_id: CustomerId, *, now: datetime) -> Sequence[Session]:
        return [s for s in await self.list_all(customer_id) if s.active(now)]

    @override
    async def list_all(self, customer_id: CustomerId) -> Sequence[Session]:
        sessions = self._transaction.tables.sessions.values()
        return sorted(
            (s for s in sessions if s.customer_id == customer_id),
            key=lambda s: (s.last_used_at, s.id),
            reverse=True,
        )

    @override
    async def end_all(
        self, customer_id: CustomerId, *, now: datetime, keep: SessionId | None = None
    ) -> int:
        ended = 0
        for listed in await self.list_active(customer_id, now=now):
            session = await self._lock(listed.id)
            if session is not None and session.active(now) and session.id != keep:
                self._transaction.tables.sessions[session.id] = session.ended(now)
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
