"""Connections of their own for statements that need no transaction around them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.failure import storage_failures

PLANNED_ONCE: Mapping[str, str] = {
    # To plan anew for arrays of just this length would take longer than what is planned.
    "plan_cache_mode": "force_generic_plan",
    # A plan outlives the size that tables had when it was made: keys are looked up in indexes even
    # if there was next to nothing to look through.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""What PostgreSQL is to know of connections for statements that look up a few keys."""


class Lanes:
    """
    At most `size` connections, each for one statement at a time; they are made when needed.

    Whoever asks sees to it that it ends in time (`Batch`). With a `transaction_pooler` each
    statement is put into a transaction, which is what such a pooler keeps together. A connection
    on which anything went wrong is dropped: what it has still to say belongs to nobody.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        *,
        size: int,
        transaction_pooler: bool = False,
    ) -> None:
        self._connect = connect
        self._transaction_pooler = transaction_pooler
        self._free = asyncio.Semaphore(size)
        self._idle: list[Any] = []
        self._busy = 0

    @property
    def in_use(self) -> int:
        """How many connections have work at this moment."""
        return self._busy

    async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
        """
        Run a statement, and return its rows.

        :raises StorageUnavailable: if the database cannot be reached
        """
        async with self._lane() as connection:
            transaction = connection.transaction() if self._transaction_pooler else nullcontext()
            async with transaction:
                rows: Sequence[Any] = await connection.fetch(statement, *values)
            return rows

    async def aclose(self) -> None:
        """Let go of the connections."""
        while self._idle:
            connection = self._idle.pop()
            try:
                with storage_failures():
                    await connection.close()
            except StorageUnavailable:
                connection.terminate()

    @asynccontextmanager
    async def _lane(self) -> AsyncGenerator[Any]:
        async with self._free:
            self._busy += 1
            connection = None
            try:
                with storage_failures():
                    connection = self._waiting() or await self._connect()
                    yield connection
            except BaseException:
                if connection is not None:
                    connection.terminate()
                raise
            else:
                self._idle.append(connection)
            finally:
                self._busy -= 1

    def _waiting(self) -> Any | None:
        """Return a connection that is known not to be closed, the last used first."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None
