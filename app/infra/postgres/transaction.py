"""The one way to the database: statements within a transaction that has a deadline."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

from sqlalchemy import CursorResult, Row, TextClause
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.sql.dml import UpdateBase
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select, SelectOfScalar

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.failure import storage_failures

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
AnyRow: TypeAlias = Row[*tuple[Any, ...]]

# Rows are read from the database, not from what this session read before.
_OPTIONS = {"populate_existing": True, "synchronize_session": False}


class Transaction:
    """
    A session of one unit of work.

    All its waiting for the database ends within `budget` of its first statement: whoever waits
    for an answer gets one in time, whatever the database does. Every method raises
    `StorageUnavailable` if the database cannot be reached.
    """

    def __init__(self, sessions: async_sessionmaker[AsyncSession], *, budget: timedelta) -> None:
        self._session = sessions()
        self._budget_s = budget.total_seconds()
        self._deadline: float | None = None
        self._lost: StorageUnavailable | None = None

    async def all(self, statement: SelectOfScalar[T]) -> Sequence[T]:
        """Return what a query for one thing selects."""
        async with self._bounded():
            return (await self._session.exec(statement, execution_options=_OPTIONS)).all()

    async def first(self, statement: SelectOfScalar[T]) -> T | None:
        """Return the first thing that a query selects."""
        async with self._bounded():
            return (await self._session.exec(statement, execution_options=_OPTIONS)).first()

    async def rows(self, statement: Select[*Ts]) -> Sequence[tuple[*Ts]]:
        """Return what a query for several things selects."""
        async with self._bounded():
            return (await self._session.exec(statement, execution_options=_OPTIONS)).all()

    async def write(self, statement: UpdateBase) -> int:
        """Write, and tell how many rows were concerned."""
        async with self._bounded():
            return (await self._session.exec(statement, execution_options=_OPTIONS)).rowcount

    async def sql(self, statement: TextClause, **parameters: object) -> Sequence[AnyRow]:
        """Run a statement in SQL, and return what it returns."""
        async with self._bounded():
            result: CursorResult[*tuple[Any, ...]] = await self._session.exec(
                statement,  # type: ignore[call-overload]  # `exec` takes text, its types do not
                params=parameters,
            )
            return result.all() if result.returns_rows else ()

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """Undo only what is done inside if it fails."""
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
        """Make everything done lasting."""
        async with self._bounded():
            await self._session.commit()

    async def close(self) -> None:
        """Undo what was not committed, and give the connection back."""
        try:
            with storage_failures():
                # Leaving the session is shielded from the cancellation of our task.
                await self._session.__aexit__(None, None, None)
        except StorageUnavailable:
            # The server undoes by itself what is lost with a connection.
            await self._session.invalidate()

    @asynccontextmanager
    async def _bounded(self) -> AsyncGenerator[None]:
        if self._lost is not None:
            # What is broken stays broken: nothing of a unit may come after a part that is lost.
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
