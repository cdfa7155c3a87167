"""Connections for single statements, each of which is a transaction of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.failure import storage_failures

PLANNED_ONCE: Mapping[str, str] = {
    # Planning again for the length of the arrays would take longer than running the statement.
    "plan_cache_mode": "force_generic_plan",
    # A plan is kept while tables grow: it must look up keys in indexes even if the tables were
    # almost empty when it was made.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""Settings of PostgreSQL for statements that are planned once for each connection."""


class StatementPool:
    """
    At most `size` connections, each with one statement at a time; they are made when needed.

    The caller bounds the time that a statement may take. With a `transaction_pooler` each
    statement runs in an explicit transaction, which such a pooler keeps on one connection. A
    connection is discarded if a statement on it failed or was cancelled: a late response could be
    attributed to the wrong statement.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        *,
        size: int,
        transaction_pooler: bool = False,
    ) -> None:
        self.size = size
        self._connect = connect
        self._transaction_pooler = transaction_pooler
        self._free = asyncio.Semaphore(size)
        self._idle: list[Any] = []
        self._in_use = 0

    @property
    def in_use(self) -> int:
        """The number of connections with a statement in progress."""
        return self._in_use

    async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
        """
        Run a statement and return its rows.

        :raises StorageUnavailable: if the database cannot be reached
        """
        async with self._free:
            self._in_use += 1
            connection = None
            try:
                with storage_failures():
                    connection = self._take_idle() or await self._connect()
                    if self._transaction_pooler:
                        async with connection.transaction():
                            rows: Sequence[Any] = await connection.fetch(statement, *values)
                    else:
                        rows = await connection.fetch(statement, *values)
            except BaseException:
                if connection is not None:
                    connection.terminate()
                raise
            finally:
                self._in_use -= 1
            self._idle.append(connection)
            return rows

    def _take_idle(self) -> Any | None:
        """Return an open connection, the last used first."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        while self._idle:
            connection = self._idle.pop()
            try:
                with storage_failures():
                    await connection.close()
            except StorageUnavailable:
                connection.terminate()
