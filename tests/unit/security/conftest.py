import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Run what is asynchronous on the loop of servers and on that of everything else."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
