"""A read replica: used while it keeps up, and never missed when it does not."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

import asyncpg  # type: ignore[import-untyped]  # ships no types
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select, SelectOfScalar
from typing_extensions import override

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.engine import sessions_of
from app.infra.postgres.transaction import Transaction

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PATIENCE = timedelta(milliseconds=250)
"""How long a read waits for the replica before the primary is asked."""

EVERY = timedelta(seconds=1)
"""The pause between two looks at the replica."""

# While a connection is prepared SQLAlchemy lets those of the driver through.
_FAILURES = (
    StorageUnavailable,
    DBAPIError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)

logger = structlog.get_logger(__name__)

# What was replayed last was committed at that time, by the primary's clock. While nothing is
# written this grows although nothing is missing; workers write every few seconds. Without any the
# primary is asked: more work for it, and never an answer that is older than allowed. A server that
# is no replica is not behind.
_LAG = text(
    "SELECT CASE WHEN pg_is_in_recovery()"
    " THEN extract(epoch FROM now() - pg_last_xact_replay_timestamp()) ELSE 0 END"
)


class Replica:
    """
    Looks at a replica again and again, from entering it to leaving it.

    It is `usable` if it answers within `patience` and is no more than `max_lag` behind. A read
    that fails makes it unusable until the next look. A change is logged once.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        max_lag: timedelta,
        patience: timedelta = PATIENCE,
        every: timedelta = EVERY,
    ) -> None:
        self.usable = False
        self._sessions = sessions_of(engine)
        self._max_lag_s = max_lag.total_seconds()
        self._patience = patience
        self._every_s = every.total_seconds()
        self._task: asyncio.Task[None] | None = None

    def transaction(self) -> Transaction:
        """Return a transaction on the replica, whose waiting ends within `patience`."""
        return Transaction(self._sessions, budget=self._patience)

    def lost(self, reason: str) -> None:
        """Do without it until the next look."""
        if self.usable:
            logger.warning("replica_lost", reason=reason)
        self.usable = False

    async def look(self) -> None:
        """Find out whether it can be used."""
        transaction = self.transaction()
        try:
            [(lag_s,)] = await transaction.sql(_LAG)
        except _FAILURES as error:
            self.lost(type(error).__name__)
            return
        finally:
            await transaction.close()
        if lag_s is None or lag_s > self._max_lag_s:
            self.lost("lag")
        elif not self.usable:
            self.usable = True
            logger.info("replica_used")

    async def __aenter__(self) -> Self:
        await self.look()
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="replica-watch")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.look()


class ReplicaFirst(Transaction):
    """
    Reads from a replica what it can, and everything else from the primary.

    Once the replica has failed the rest of the unit is the primary's: what is read later is never
    older than what was read before.
    """

    def __init__(
        self,
        primary: async_sessionmaker[AsyncSession],
        replica: Replica,
        *,
        budget: timedelta,
    ) -> None:
        super().__init__(primary, budget=budget)
        self._replica = replica
        self._copy = replica.transaction() if replica.usable else None

    @override
    async def all(self, statement: SelectOfScalar[T]) -> Sequence[T]:
        if self._copy is not None:
            async with self._or_primary():
                return await self._copy.all(statement)
        return await super().all(statement)

    @override
    async def first(self, statement: SelectOfScalar[T]) -> T | None:
        if self._copy is not None:
            async with self._or_primary():
                return await self._copy.first(statement)
        return await super().first(statement)

    @override
    async def rows(self, statement: Select[*Ts]) -> Sequence[tuple[*Ts]]:
        if self._copy is not None:
            async with self._or_primary():
                return await self._copy.rows(statement)
        return await super().rows(statement)

    @override
    async def close(self) -> None:
        if self._copy is not None:
            await self._copy.close()
        await super().close()

    @asynccontextmanager
    async def _or_primary(self) -> AsyncGenerator[None]:
        """Let nothing of the replica's failures out; a mistake of ours fails there as well."""
        try:
            yield
        except _FAILURES as error:
            # A query that stands in the way of the replay is cut off, too.
            self._replica.lost(type(error).__name__)
            copy, self._copy = self._copy, None
            if copy is not None:
                await copy.close()
