"""What is disturbed, whatever it runs on."""

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
class World(ABC):
    """
    A service with its database and its catalog, disturbed on purpose.

    `urls` are where it is asked. A write without an answer may still be under way for `doubt_s`
    seconds; whoever wants to know what became of it must not write before. What is idempotent
    `may_be_repeated` by what is between the clients and the API.
    """

    urls: Sequence[str]
    database_url: str
    store: FakeStoreControl
    doubt_s: float
    may_be_repeated: bool = False
    products: list[int] = field(default_factory=lambda: list(KNOWN_PRODUCTS))
    invented: list[int] = field(default_factory=list)
    _new_products: Iterator[int] = field(default_factory=lambda: count(1001))
    _invented: Iterator[int] = field(default_factory=lambda: count(900_001))

    @abstractmethod
    def kept(self) -> AbstractAsyncContextManager[None]:
        """Keep everything running, and stop it well in the end."""

    @abstractmethod
    async def complete(self) -> bool:
        """Tell whether every process is there."""

    @property
    @abstractmethod
    def failures(self) -> Sequence[str]:
        """What programs did that no program may do."""

    @abstractmethod
    def log_lines(self) -> Iterable[Mapping[str, Any]]:
        """Yield what the service's programs have said."""

    def next_product(self) -> int:
        """Return the id of a product that is not on the catalog's shelf yet."""
        return next(self._new_products)

    async def add_product(self, number: int) -> None:
        """Put a new product on the catalog's shelf."""
        await self.stock(number)
        self.products.append(number)

    async def stock(self, number: int) -> None:
        """Put a product on the catalog's shelf, be it for the first time or again."""
        await asyncio.to_thread(
            self.store.change_product,
            number,
            title=f"Product {number}",
            price=9.9,
            description="New.",
            category="electronics",
        )

    def invent_product(self) -> int:
        """Return the id of a product that the catalog does not have."""
        self.invented.append(next(self._invented))
        return self.invented[-1]

    async def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the service's database; while that is away, wait for it."""
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


async def until(true: Callable[[], Coroutine[Any, Any, bool]], seconds: float, what: str) -> None:
    """Wait for something to become true.

    :raises ChaosError: if it does not in time
    """
    deadline = time.monotonic() + seconds
    while not await true():
        if time.monotonic() > deadline:
            raise ChaosError(f"{what} took more than {seconds:.0f} seconds")
        await asyncio.sleep(POLL_S)
