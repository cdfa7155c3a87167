"""The process that hashes, as it is seen from outside."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types

from app.domain.customer import Password
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.executor import HashingExecutor

MODULE = "app.infra.hashing.process"
CHEAP = Argon2Parameters(memory_kib=64, passes=1)
PASSWORD = Password("correct horse")


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a process sets no events of ours
            await asyncio.sleep(0.005)


def hashing_processes(server: int | None = None) -> list[psutil.Process]:
    """Return the processes that hash for this one, or for a server and all of its processes."""
    mine = psutil.Process(server)
    return [each for each in mine.children(recursive=server is not None) if _hashes(each)]


async def running(executor: HashingExecutor) -> psutil.Process:
    """Return the process of the only executor there is, ready to hash."""
    await executor.hash(CHEAP, PASSWORD)
    (process,) = hashing_processes()
    return process


@asynccontextmanager
async def held(executor: HashingExecutor) -> AsyncGenerator[psutil.Process]:
    """Freeze the process of an executor: what it is given is under way until it goes on."""
    process = await running(executor)
    await freeze(process)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


async def freeze(process: psutil.Process) -> None:
    """Have a process do nothing until it is resumed."""
    process.suspend()
    await until(lambda: process.status() == psutil.STATUS_STOPPED)


def _hashes(process: psutil.Process) -> bool:
    # Neither before it has become another program, nor when it has ended.
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return MODULE in process.cmdline()
    return False
