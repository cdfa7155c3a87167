"""A transaction with a deadline, for the statements of a unit of work."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import CursorResult, Row, TextClause
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.sql.dml import UpdateBase
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.failure import storage_failures

T = TypeVar("T")
AnyRow: TypeAlias = Row[*tuple[Any, ...]]

# Read rows from the database, not from the identity map of this session.
_OPTIONS = {"populate_existing": True, "synchronize_session": False}


class Transaction:
    """
    The database session of one unit of work.

    The time spent waiting for the database ends within `budget` after the first statement. Every
    method raises `StorageUnavailable` if the database cannot be reached or takes longer.
    """

    def __init__(self, sessions: async_sessionmaker[AsyncSession], *, budget: timedelta) -> None:
        self._session = sessions()
        self._budget_s = budget.total_seconds()
        self._deadline: float | None = None
        self._lost: StorageUnavailable | None = None

    async def all(self, statement: SelectOfScalar[T]) -> Sequence[T]:
        """Return all entities or values that a query selects."""
        async with self._bounded():
            return (await self._session.exec(statement, execution_options=_OPTIONS)).all()

    async def first(self, statement: SelectOfScalar[T]) -> T | None:
        """Return the first entity or value that a query selects."""
        async with self._bounded():
            return (await self._session.exec(statement, execution_options=_OPTIONS)).first()

    async def write(self, statement: UpdateBase) -> int:
        """Run a write, and return the number of rows affected."""
        async with self._bounded():
            return (await self._session.exec(statement, execution_options=_OPTIONS)).rowcount

    async def sql(self, statement: TextClause, **parameters: object) -> Sequence[AnyRow]:
        """Run an SQL statement and return its rows."""
        async with self._bounded():
            result: CursorResult[*tuple[Any, ...]] = await self._session.exec(
                statement,  # type: ignore[call-overload]  # `exec` takes text, its types do not
                params=parameters,
            )
            return result.all() if result.returns_rows else ()

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """Undo only the statements of the block if it fails."""
        async with self._bounded():
            savepoint = await self._session.begin_nested()
        try:
            yield
        except StorageUnavailable:
            raise
        except BaseException:
            async with self._bounded():
                await savepoint.rollback()
            raise
        else:
            async with self._bounded():
                await savepoint.commit()

    async def commit(self) -> None:
        """Commit the transaction."""
        async with self._bounded():
            await self._session.commit()

    async def close(self) -> None:
        """Undo what was not committed, and release the connection."""
        try:
            with storage_failures():
                # `__aexit__` shields the rollback from a cancellation of this task.
                await self._session.__aexit__(None, None, None)
        except StorageUnavailable:
            # The server rolls back a transaction whose connection is lost.
            await self._session.invalidate()

    @asynccontextmanager
    async def _bounded(self) -> AsyncGenerator[None]:
        if self._lost is not None:
            # After a failed statement no other one of this unit may take effect.
            raise self._lost
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._budget_s
        try:
            with storage_failures():
                async with asyncio.timeout_at(self._deadline):
                    yield
        except StorageUnavailable as error:
            self._lost = error
            raise
