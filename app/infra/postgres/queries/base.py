import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from app.domain.queries import Queries
from app.infra.postgres.batcher import Batcher
from app.infra.postgres.failure import storage_failures
from app.infra.postgres.replica import ReplicaFirstPool
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.statement_pool import StatementPool

K = TypeVar("K")
V = TypeVar("V")


class PostgresQueriesBase(Queries):
    """What the queries of all subjects share: connections, cached products, a time limit."""

    def __init__(
        self,
        pool: StatementPool,
        row_cache: ProductRowCache,
        *,
        patience: timedelta,
        replica: ReplicaFirstPool | None = None,
    ) -> None:
        """Prepare queries that are answered within `patience` or fail."""
        self._fetch = pool.fetch
        self._fetch_lagging = pool.fetch if replica is None else replica.fetch
        self._row_cache = row_cache
        self._patience = patience
        self._batchers: list[Batcher[Any, Any]] = []

    def _batcher(
        self,
        run: Callable[[Sequence[K]], Awaitable[Sequence[V | Exception]]],
        *,
        max_size: int = 100,
    ) -> Batcher[K, V]:
        """Return a batcher that is closed with these queries."""
        batcher = Batcher(run, patience=self._patience, max_size=max_size)
        self._batchers.append(batcher)
        return batcher

    @asynccontextmanager
    async def _bounded(self) -> AsyncGenerator[None]:
        """
        Bound the time of statements that are not batched.

        :raises StorageUnavailable: if the database cannot be reached or takes too long
        """
        with storage_failures():
            async with asyncio.timeout(self._patience.total_seconds()):
                yield

    async def aclose(self) -> None:
        """Cancel the queries in progress."""
        for batcher in self._batchers:
            await batcher.aclose()
