"""The steps of a contract test: each is a unit of work of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

from app.domain.page import Page, Position
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from tests import make

T = TypeVar("T")

on_storage = settings(
    max_examples=20,
    deadline=None,  # nothing is said about time, and a database may take some
    # Examples share the storage: each brings a customer, name or category of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def do(uow: UnitOfWorkFactory, *actions: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """Do something in one unit of work and commit it; return what the last action did."""
    async with uow() as work:
        for action in actions[:-1]:
            await action(work)
        result = await actions[-1](work)
        await work.commit()
    return result


async def see(uow: UnitOfWorkFactory, action: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """Look at what is stored, in a unit of work that changes nothing."""
    async with uow() as work:
        return await action(work)


async def side_by_side(
    times: int, uow: UnitOfWorkFactory, action: Callable[[UnitOfWork], Awaitable[T]]
) -> list[T | BaseException]:
    """Do the same in several units of work at once; return each one's result or outcome."""
    ready = asyncio.Barrier(times)

    async def once() -> T:
        async with uow() as work:
            # Connect all before the first begins: otherwise it is done when the second connects.
            await work.customers.get(make.customer_id())
            await ready.wait()
            result = await action(work)
            for _ in range(10):
                # Looks at something else, so that the others come to where they have to wait.
                await asyncio.sleep(0)
                await work.customers.get(make.customer_id())
            await work.commit()
            return result

    return await asyncio.gather(*(once() for _ in range(times)), return_exceptions=True)


async def walk(
    page_after: Callable[[Position | None], Awaitable[Page[T]]],
    between: Callable[[], Awaitable[object]] | None = None,
) -> list[T]:
    """Read all pages; in between, something else may happen."""
    items: list[T] = []
    after: Position | None = None
    while True:
        page = await page_after(after)
        items += page.items
        if page.next is None:
            return items
        after = page.next
        if between is not None:
            await between()
