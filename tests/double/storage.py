"""
Storage in memory: the executable definition of the ports in `app.domain.repository`.

It behaves like PostgreSQL at the isolation level "read committed": a unit of work sees committed
rows and its own changes; a write locks its rows until the unit ends; what is not committed is
undone. The contract suite holds both to the same promises.
"""

import asyncio
from collections.abc import Hashable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from typing_extensions import override

from app.domain.outcome import StorageUnavailable
from app.domain.product import ProductId
from app.domain.repository import UnitOfWork
from tests.double.storage_api_key import InMemoryApiKeyRepository
from tests.double.storage_customer import InMemoryCustomerRepository
from tests.double.storage_favorite import InMemoryFavoriteRepository
from tests.double.storage_popularity import InMemoryPopularityRepository
from tests.double.storage_product import InMemoryProductRepository
from tests.double.storage_session import InMemorySessionRepository
from tests.double.storage_table import Holder, Locks, Tables
from tests.double.storage_throttle import InMemoryThrottleRepository


class InMemoryStorage:
    """
    Storage for as long as a test lasts; calling it begins a unit of work.

    While `available` is False, every use of it raises `StorageUnavailable`.
    """

    def __init__(self) -> None:
        self.available = True
        self._tables = Tables()
        self._locks = Locks()

    def __call__(self) -> "InMemoryUnitOfWork":
        return InMemoryUnitOfWork(self, self._tables, self._locks)

    @property
    def tables(self) -> Tables:
        """
        The committed rows.

        :raises StorageUnavailable: if the storage is not `available`
        """
        self.require_available()
        return self._tables

    def require_available(self) -> None:
        """
        Do nothing if the storage is `available`.

        :raises StorageUnavailable: if it is not
        """
        if not self.available:
            raise StorageUnavailable(
                "The storage is set to be unavailable", retry_after=timedelta(seconds=1)
            )

    @property
    def jobs(self) -> Sequence[ProductId]:
        """The products with a queued job that asks for them, first queued first."""
        return list(self._tables.jobs)

    def take_jobs(self) -> Sequence[ProductId]:
        """Take all jobs off the queue, as a worker does."""
        jobs = self.jobs
        self._tables.jobs.clear()
        return jobs


class InMemoryUnitOfWork(UnitOfWork):
    """One transaction in one task; using it outside of its `async with` is an error."""

    def __init__(self, storage: InMemoryStorage, tables: Tables, locks: Locks) -> None:
        self._storage = storage
        self._tables = tables.with_changes()
        self._locks = locks
        self._held: dict[Hashable, Holder] = {}
        self._task: asyncio.Task[object] | None = None
        self.customers = InMemoryCustomerRepository(self)
        self.sessions = InMemorySessionRepository(self)
        self.api_keys = InMemoryApiKeyRepository(self)
        self.favorites = InMemoryFavoriteRepository(self)
        self.popularity = InMemoryPopularityRepository(self)
        self.products = InMemoryProductRepository(self)
        self.throttles = InMemoryThrottleRepository(self)

    @override
    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        return self

    @override
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._task = None
        self._locks.release(self._held)

    @property
    def tables(self) -> Tables:
        """
        The tables as this transaction sees them.

        :raises StorageUnavailable: if the storage is not `available`
        """
        if self._task is None or self._task is not asyncio.current_task():
            raise RuntimeError("A unit of work belongs to the task that entered it")
        self._storage.require_available()
        return self._tables

    async def lock(self, *key: Hashable) -> None:
        """Keep other units of work from writing something until this one ends."""
        await self._locks.take(key, held=self._held)

    @override
    async def commit(self) -> None:
        self.tables.apply()
        self._locks.release(self._held)
