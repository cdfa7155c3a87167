"""Supervision of the hashing process: it is replaced when it ends, and its tasks are resent."""

import asyncio
import itertools
import json
import logging
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.domain.outcome import HashingBusy
from app.infra.hashing.child_process import ChildProcess

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(seconds=1)

MAX_ATTEMPTS = 2
"""A task fails if this many processes end while they have it."""

IDLE_S = 2.0
"""The process releases its memory this long after the last task."""

HUNG_S = 60.0
"""A process is killed if a task takes this long."""


@dataclass(eq=False, slots=True)
class _Task:
    line: bytes
    result: asyncio.Future[Any]
    attempts: int = 0


class HashingSupervisor:
    """Run one hashing process as long as there are tasks, and replace it when it ends."""

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._stopped = False
        self._ids = itertools.count()
        self._tasks: dict[int, _Task] = {}
        self._process: ChildProcess | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start a process unless there is one."""
        if self._supervision is None or self._supervision.done():
            # An empty context: log lines must not carry the ID of the first request.
            self._supervision = asyncio.get_running_loop().create_task(
                self._supervise(), name="hashing", context=Context()
            )

    def submit(self, task: Mapping[str, object]) -> asyncio.Future[Any]:
        """
        Send a task to the process, starting it if necessary; the future gets the result.

        `HashingBusy` is set if the process cannot start, hangs, lacks memory, or ends repeatedly.
        """
        loop = asyncio.get_running_loop()
        task_id = next(self._ids)
        result: asyncio.Future[Any] = loop.create_future()
        hung = loop.call_later(HUNG_S, self._kill_hung, task_id)
        result.add_done_callback(lambda _: self._done(hung))
        self._tasks[task_id] = _Task(_encode(task, id=task_id), result)
        if self._process is not None:
            self._send(self._process, self._tasks[task_id])
        elif self._stopped:
            self._fail_tasks(attempts=0)
        else:
            self.start()
        return result

    async def stop(self) -> None:
        """Stop the process, and fail the tasks that are left."""
        self._stopped = True
        if self._idle is not None:
            self._idle.cancel()
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait([self._supervision])
        self._fail_tasks(attempts=0)

    def _done(self, hung: asyncio.TimerHandle) -> None:
        hung.cancel()
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._release_memory)

    def _kill_hung(self, task_id: int) -> None:
        """Kill the process because of one task; its successor gets the other tasks."""
        task = self._tasks.pop(task_id, None)
        if task is None:
            return
        task.result.set_exception(hashing_busy())
        if self._process is not None:
            self._process.kill()

    def _release_memory(self) -> None:
        if self._process is not None and not self._tasks:
            self._process.send(_encode({"task": "release_memory"}, id=next(self._ids)))

    async def _supervise(self) -> None:
        try:
            while True:
                await self._run_process()
                self._fail_tasks(attempts=MAX_ATTEMPTS)
                if not self._tasks:
                    return
        except OSError:
            logger.exception("hashing_process_not_started")
        finally:
            self._fail_tasks(attempts=0)

    async def _run_process(self) -> None:
        """Run one process until it ends, and settle its tasks."""
        starting = asyncio.ensure_future(ChildProcess.start(self._threads))
        try:
            # Shielded: a process whose start is canceled half-way would never be stopped.
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await (await starting).stop()
            raise
        try:
            self._process = process
            for task in self._tasks.values():
                self._send(process, task)
            async for line in process.output:
                self._settle(**json.loads(line))
        finally:
            self._process = None
            status = await process.stop()
        logger.warning("hashing_process_lost", extra={"exit_status": status})

    @staticmethod
    def _send(process: ChildProcess, task: _Task) -> None:
        task.attempts += 1
        process.send(task.line)

    def _settle(self, *, id: int, result: Any = None, error: str | None = None) -> None:
        task = self._tasks.pop(id, None)
        if task is None:
            return
        match error:
            case None:
                task.result.set_result(result)
            case "MemoryError":
                logger.warning("hashing_out_of_memory")
                task.result.set_exception(hashing_busy())
            case _:
                task.result.set_exception(RuntimeError(f"Hashing failed: {error}"))

    def _fail_tasks(self, *, attempts: int) -> None:
        """Fail the tasks that were sent at least this many times."""
        for task_id, task in list(self._tasks.items()):
            if task.attempts >= attempts:
                del self._tasks[task_id]
                task.result.set_exception(hashing_busy())


def hashing_busy() -> HashingBusy:
    """Return the error for a password that cannot be hashed now."""
    return HashingBusy("Too many passwords are waiting to be hashed", retry_after=RETRY_AFTER)


def _encode(task: Mapping[str, object], *, id: int) -> bytes:
    return json.dumps({"id": id, **task}).encode() + b"\n"
