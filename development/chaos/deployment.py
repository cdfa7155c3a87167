"""The service under test, independent of what it runs on."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg

from development.chaos.program import ChaosError
from development.fakestore.server import FakeStoreControl

DATABASE = "favorites"
START_S = 60.0
POLL_S = 0.05
KNOWN_PRODUCTS = range(1, 21)


@dataclass(kw_only=True)
class Deployment(ABC):
    """
    A service with its database and its catalog.

    Requests go to its `urls`. A write without an answer may still be in flight for `in_flight_s`
    seconds; another write of the same product before that would hide its outcome. If
    `may_repeat`, a gateway may send idempotent requests twice.
    """

    urls: Sequence[str]
    database_url: str
    store: FakeStoreControl
    in_flight_s: float
    may_repeat: bool = False
    products: list[int] = field(default_factory=lambda: list(KNOWN_PRODUCTS))
    nonexistent: list[int] = field(default_factory=list)
    _new_products: Iterator[int] = field(default_factory=lambda: count(1001))
    _nonexistent: Iterator[int] = field(default_factory=lambda: count(900_001))

    @abstractmethod
    def supervised(self) -> AbstractAsyncContextManager[None]:
        """Keep all processes running, and stop them gracefully at the end."""

    @abstractmethod
    async def is_complete(self) -> bool:
        """Return whether all processes are running."""

    @property
    @abstractmethod
    def failures(self) -> Sequence[str]:
        """The unexpected ends and failed stops of programs."""

    @abstractmethod
    def log_lines(self) -> Iterable[Mapping[str, Any]]:
        """Yield the log entries of the service's programs."""

    def next_product(self) -> int:
        """Return the id of a product that the catalog does not have yet."""
        return next(self._new_products)

    async def add_product(self, number: int) -> None:
        """Add a new product to the catalog."""
        await self.stock(number)
        self.products.append(number)

    async def stock(self, number: int) -> None:
        """Put a product into the catalog, for the first time or again."""
        await asyncio.to_thread(
            self.store.change_product,
            number,
            title=f"Product {number}",
            price=9.9,
            description="New.",
            category="electronics",
        )

    def nonexistent_product(self) -> int:
        """Return the id of a product that the catalog will never have."""
        self.nonexistent.append(next(self._nonexistent))
        return self.nonexistent[-1]

    async def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the service's database; retry while that is unavailable."""
        rows: list[tuple[Any, ...]] = []

        async def done() -> bool:
            with suppress(psycopg.Error):
                rows[:] = await asyncio.to_thread(self._sql, statement)
                return True
            return False

        await until(done, START_S, "the database")
        return rows

    def _sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=3) as connection:
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []


async def until(
    condition: Callable[[], Coroutine[Any, Any, bool]], seconds: float, what: str
) -> None:
    """Wait until a condition is true.

    :raises ChaosError: if it takes longer than these seconds
    """
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise ChaosError(f"{what} took more than {seconds:.0f} seconds")
        await asyncio.sleep(POLL_S)
