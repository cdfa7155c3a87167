from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import LargeBinary, Uuid, bindparam, insert, text
from sqlmodel import col, delete, func, literal, select, update
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
from app.infra.postgres.orm.customer import CustomerRow
from app.infra.postgres.orm.row import UtcDateTime
from app.infra.postgres.orm.session import RefreshTokenRow, SessionRow
from app.infra.postgres.rows import SESSION_COLUMNS, read_session
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresSessionRepository(SessionRepository):
    """
    Locks customers before their sessions, sessions in the order of ids, and tokens last, so that
    transactions do not deadlock.
    """

    _transaction: Transaction

    @override
    async def get(self, session_id: SessionId) -> Session | None:
        rows = await self._transaction.sql(_GET, session_id=session_id)
        return read_session(*rows[0]) if rows else None

    @override
    async def save(self, session: Session) -> None:
        await self._transaction.write(
            update(SessionRow)
            .where(col(SessionRow.id) == session.id)
            .values(SessionRow.from_entity(session).model_dump(exclude={"id"}))
        )

    @override
    async def lock_family(self, token_hash: RefreshTokenHash) -> RefreshFamily | None:
        rows = await self._transaction.sql(_LOCK_BY_TOKEN, hash=token_hash)
        if not rows:
            return None
        # A new statement: behind the lock the tokens cannot change any more.
        tokens = await self._transaction.all(
            select(RefreshTokenRow).where(
                (col(RefreshTokenRow.hash) == token_hash)
                | (col(RefreshTokenRow.predecessor) == token_hash)
            )
        )
        by_hash = {token.hash == token_hash: token.to_entity() for token in tokens}
        return RefreshFamily(
            session=read_session(*rows[0]), presented=by_hash[True], successor=by_hash.get(False)
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
    async def end_all(
        self, customer_id: CustomerId, *, now: datetime, keep: SessionId | None = None
    ) -> int:
        # Keeps the customer from being removed, which locks the customer before the sessions.
        await self._transaction.all(
            select(CustomerRow.id)
            .where(CustomerRow.id == customer_id)
            .with_for_update(read=True, key_share=True)
        )
        active = (
            select(SessionRow.id)
            .where(
                SessionRow.customer_id == customer_id,
                func.session_is_active(
                    col(SessionRow.ended_at),
                    col(SessionRow.idle_expires_at),
                    col(SessionRow.expires_at),
                    literal(now, UtcDateTime),
                ),
            )
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
            # Sessions that are in use are left to the next purge.
            .with_for_update(skip_locked=True)
        )
        return await self._transaction.write(
            delete(SessionRow).where(col(SessionRow.id).in_(over))
        )


_OVER_SINCE = func.least(
    col(SessionRow.ended_at), col(SessionRow.idle_expires_at), col(SessionRow.expires_at)
)


_GET = text(
    f"SELECT {SESSION_COLUMNS} FROM sessions AS s WHERE s.id = :session_id"  # noqa: S608 - constants
).bindparams(bindparam("session_id", type_=Uuid()))
_LOCK_BY_TOKEN = text(
    f"""
    SELECT {SESSION_COLUMNS} FROM sessions AS s JOIN refresh_tokens AS t ON t.session_id = s.id
    WHERE t.hash = :hash FOR NO KEY UPDATE OF s
    """  # noqa: S608 - constants
).bindparams(bindparam("hash", type_=LargeBinary))
