from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, insert
from sqlmodel import col, delete, func, select, update
from typing_extensions import override

from app.domain.access import CustomerPrincipal
from app.domain.customer import CustomerId, Role
from app.domain.outcome import CustomerNotFound
from app.domain.repository import SessionRepository
from app.domain.session import (
    RefreshFamily,
    RefreshToken,
    RefreshTokenHash,
    Session,
    SessionId,
)
from app.infra.postgres.orm.customer import CustomerRow
from app.infra.postgres.orm.session import RefreshTokenRow, SessionRow
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresSessionRepository(SessionRepository):
    """
    Sessions are locked before their tokens, several in the order of their ids, and after their
    customer: that way no two transactions wait for each other.
    """

    _transaction: Transaction

    @override
    async def add(self, session: Session, token: RefreshToken) -> None:
        if not await self._keep(session.customer_id):
            raise CustomerNotFound("There is no such customer")
        await self._transaction.write(
            insert(SessionRow).values(SessionRow.from_entity(session).model_dump())
        )
        await self.add_token(token)

    @override
    async def get(self, session_id: SessionId) -> Session | None:
        row = await self._transaction.first(select(SessionRow).where(SessionRow.id == session_id))
        return row.to_entity() if row else None

    @override
    async def save(self, session: Session) -> None:
        await self._transaction.write(
            update(SessionRow)
            .where(col(SessionRow.id) == session.id)
            .values(SessionRow.from_entity(session).model_dump(exclude={"id"}))
        )

    @override
    async def find_principal(
        self, session_id: SessionId, *, now: datetime
    ) -> CustomerPrincipal | None:
        found = await self._transaction.rows(
            select(CustomerRow.id, CustomerRow.role)
            .join(SessionRow, col(SessionRow.customer_id) == col(CustomerRow.id))
            .where(SessionRow.id == session_id, *_active(now))
        )
        for customer_id, role in found:
            return CustomerPrincipal(
                customer_id=CustomerId(customer_id), session_id=session_id, role=Role(role)
            )
        return None

    @override
    async def lock_family(self, token_hash: RefreshTokenHash) -> RefreshFamily | None:
        session = await self._transaction.first(
            select(SessionRow)
            .join(RefreshTokenRow, col(RefreshTokenRow.session_id) == col(SessionRow.id))
            .where(RefreshTokenRow.hash == token_hash)
            .with_for_update(of=SessionRow, key_share=True)
        )
        if session is None:
            return None
        # Only now, behind the lock, nobody changes the tokens any more.
        tokens = await self._transaction.all(
            select(RefreshTokenRow).where(
                (col(RefreshTokenRow.hash) == token_hash)
                | (col(RefreshTokenRow.predecessor) == token_hash)
            )
        )
        by_hash = {token.hash == token_hash: token.to_entity() for token in tokens}
        return RefreshFamily(
            session=session.to_entity(), presented=by_hash[True], successor=by_hash.get(False)
        )

    @override
    async def add_token(self, token: RefreshToken) -> None:
        await self._transaction.write(
            insert(RefreshTokenRow).values(RefreshTokenRow.from_entity(token).model_dump())
        )

    @override
    async def save_token(self, token: RefreshToken) -> None:
        await self._transaction.write(
            update(RefreshTokenRow)
            .where(col(RefreshTokenRow.hash) == token.hash)
            .values(RefreshTokenRow.from_entity(token).model_dump(exclude={"hash"}))
        )

    @override
    async def list_active(self, customer_id: CustomerId, *, now: datetime) -> Sequence[Session]:
        return await self._list(col(SessionRow.customer_id) == customer_id, *_active(now))

    @override
    async def list_all(self, customer_id: CustomerId) -> Sequence[Session]:
        return await self._list(col(SessionRow.customer_id) == customer_id)

    async def _list(self, *conditions: ColumnElement[bool]) -> Sequence[Session]:
        rows = await self._transaction.all(
            select(SessionRow)
            .where(*conditions)
            .order_by(col(SessionRow.last_used_at).desc(), col(SessionRow.id).desc())
        )
        return [row.to_entity() for row in rows]

    @override
    async def end_all(
        self, customer_id: CustomerId, *, now: datetime, keep: SessionId | None = None
    ) -> int:
        await self._keep(customer_id)
        active = (
            select(SessionRow.id)
            .where(SessionRow.customer_id == customer_id, *_active(now))
            .order_by(col(SessionRow.id))
            .with_for_update(key_share=True)
        )
        if keep is not None:
            active = active.where(SessionRow.id != keep)
        ids = await self._transaction.all(active)
        return await self._transaction.write(
            update(SessionRow).where(col(SessionRow.id).in_(ids)).values(ended_at=now)
        )

    @override
    async def purge(self, *, before: datetime) -> int:
        over = (
            select(SessionRow.id)
            .where(before > _OVER_SINCE)
            # What somebody is at work on is for the next purge.
            .with_for_update(skip_locked=True)
        )
        return await self._transaction.write(
            delete(SessionRow).where(col(SessionRow.id).in_(over))
        )

    async def _keep(self, customer_id: CustomerId) -> bool:
        """Keep the customer from being removed until the transaction ends; tell if they exist."""
        locked: UUID | None = await self._transaction.first(
            select(CustomerRow.id)
            .where(CustomerRow.id == customer_id)
            .with_for_update(read=True, key_share=True)
        )
        return locked is not None


_OVER_SINCE = func.least(
    col(SessionRow.ended_at), col(SessionRow.idle_expires_at), col(SessionRow.expires_at)
)


def _active(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        col(SessionRow.ended_at).is_(None),
        col(SessionRow.idle_expires_at) > now,
        col(SessionRow.expires_at) > now,
    )
