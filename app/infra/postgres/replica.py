"""A read replica: used while it keeps up, replaced by the primary while it does not."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import asyncpg  # type: ignore[import-untyped]  # ships no types
import structlog

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.failure import storage_failures
from app.infra.postgres.statement_pool import StatementPool

PATIENCE = timedelta(milliseconds=250)
"""How long a read waits for the replica before it goes to the primary."""

CHECK_INTERVAL = timedelta(seconds=1)

# Other errors than an outage occur on a replica too: it cancels a query that delays the replay.
_FAILURES = (StorageUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError)

logger = structlog.get_logger(__name__)

# The primary committed what was replayed last at that time, by its own clock. While nothing is
# written this grows although nothing is missing: workers write every few seconds, and without them
# reads go to the primary, which is never older than allowed. A server that is not in recovery is
# not behind.
_LAG = """
    SELECT CASE WHEN pg_is_in_recovery()
        THEN extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float8 ELSE 0 END
"""


class Replica:
    """
    Checks a replica repeatedly, from entering this object to leaving it, which closes the pool.

    It is `usable` if it responds within `patience` and is at most `max_lag` behind. A read that
    fails makes it unusable until the next check. Each change is logged once.
    """

    def __init__(
        self,
        pool: StatementPool,
        *,
        max_lag: timedelta,
        patience: timedelta = PATIENCE,
        check_interval: timedelta = CHECK_INTERVAL,
    ) -> None:
        self.usable = False
        self._pool = pool
        self._max_lag_s = max_lag.total_seconds()
        self._patience_s = patience.total_seconds()
        self._check_interval_s = check_interval.total_seconds()
        self._task: asyncio.Task[None] | None = None

    async def fetch(self, statement: str, *values: object) -> Sequence[Any] | None:
        """Run a statement and return its rows; None if the replica cannot be used for it."""
        try:
            with storage_failures():
                async with asyncio.timeout(self._patience_s):
                    return await self._pool.fetch(statement, *values)
        except _FAILURES as error:
            self._lose(type(error).__name__)
            return None

    async def check(self) -> None:
        """Find out whether the replica can be used."""
        rows = await self.fetch(_LAG)
        if rows is None:
            return
        [(lag_s,)] = rows
        if lag_s is None or lag_s > self._max_lag_s:
            self._lose("lag")
        elif not self.usable:
            self.usable = True
            logger.info("replica_used")

    def _lose(self, reason: str) -> None:
        if self.usable:
            logger.warning("replica_lost", reason=reason)
        self.usable = False

    async def __aenter__(self) -> Self:
        await self.check()
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
        await self._pool.aclose()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._check_interval_s)
            await self.check()


class ReplicaFirstPool:
    """Runs statements on the replica while it is usable, and on the primary otherwise."""

    def __init__(self, replica: Replica, primary: StatementPool) -> None:
        self._replica = replica
        self._primary = primary

    async def fetch(self, statement: str, *values: object) -> Sequence[Any]:
        """
        Run a statement and return its rows.

        :raises StorageUnavailable: if neither database can be reached
        """
        if self._replica.usable:
            rows = await self._replica.fetch(statement, *values)
            if rows is not None:
                return rows
        return await self._primary.fetch(statement, *values)
