"""Helpers for tests of the hashing process."""

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
    """Wait for a condition that another process brings about."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(0.005)


def hashing_processes(server: int | None = None) -> list[psutil.Process]:
    """Return the hashing processes of this process, or of a server and all of its processes."""
    parent = psutil.Process(server)
    return [each for each in parent.children(recursive=server is not None) if _hashes(each)]


async def running(executor: HashingExecutor) -> psutil.Process:
    """Return the hashing process of the only executor, once it is ready."""
    await executor.hash(CHEAP, PASSWORD)
    (process,) = hashing_processes()
    return process


@asynccontextmanager
async def held(executor: HashingExecutor) -> AsyncGenerator[psutil.Process]:
    """Suspend the process of an executor during the block, so that its tasks stay unfinished."""
    process = await running(executor)
    await freeze(process)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


async def freeze(process: psutil.Process) -> None:
    """Suspend a process."""
    process.suspend()
    await until(lambda: process.status() == psutil.STATUS_STOPPED)


def _hashes(process: psutil.Process) -> bool:
    # The process may not have called exec yet, or may have ended.
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return MODULE in process.cmdline()
    return False
