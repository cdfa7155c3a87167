import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from threading import Event
from typing import Any

import pytest

from app.domain.outcome import HashingBusy
from app.infra.security.hashing_executor import HashingExecutor, hashing_cores, usable_cores


async def _started(*calls: Coroutine[Any, Any, object]) -> list[asyncio.Task[object]]:
    """Start calls in this order, each up to where it waits for its thread."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    return tasks


def _noting(notes: list[str], text: str) -> Callable[[], None]:
    return lambda: notes.append(text)


# In a process of its own, whose memory nobody else touches; in MiB.
RESTING = """
import asyncio, argon2.low_level, psutil
from app.infra.security import hashing_executor
from app.infra.security.hashing_executor import HashingExecutor

hashing_executor.IDLE_S = 0.05

def memory():
    return psutil.Process().memory_info().rss >> 20

def work():
    argon2.low_level.hash_secret(b"x", b"salt" * 4, 1, 64 * 1024, 1, 32, argon2.low_level.Type.ID)
    return memory()

async def main():
    before = memory()
    async with HashingExecutor(threads=2) as executor:
        done = await asyncio.gather(*(executor.run(work) for _ in range(4)))
        for _ in range(200):
            if memory() < before + 10:
                break
            await asyncio.sleep(0.05)
        print(before, max(done), memory())

asyncio.run(main())
"""


class TestHashingExecutor:
    async def test_runs_off_the_event_loop(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            assert await executor.run(threading.get_ident) != threading.get_ident()

    async def test_raises_what_the_work_raises(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            with pytest.raises(ZeroDivisionError):
                await executor.run(lambda: 1 // 0)
            assert await executor.run(lambda: 1) == 1

    async def test_uses_at_most_as_many_threads_as_it_was_given(self) -> None:
        seen: set[str] = set()
        async with HashingExecutor(threads=2, queue=100) as executor:
            await asyncio.gather(
                *(
                    executor.run(lambda: seen.add(threading.current_thread().name))
                    for _ in range(100)
                )
            )
        assert len(seen) <= 2

    async def test_uses_the_cores_it_may_run_on(self) -> None:
        assert 1 <= usable_cores() <= (os.cpu_count() or 1)
        # One is left to everything else, if there is more than one.
        assert hashing_cores() == max(1, usable_cores() - 1)
        assert hashing_cores(processes=1000) == 1

    async def test_refuses_at_once_when_full_and_admits_again_afterwards(self) -> None:
        gate = Event()
        async with HashingExecutor(threads=1, queue=2) as executor:
            held = await _started(*(executor.run(gate.wait) for _ in range(3)))
            with pytest.raises(HashingBusy):
                await executor.run(gate.wait)
            gate.set()
            assert await asyncio.gather(*held) == [True, True, True]
            assert await executor.run(lambda: "again") == "again"

    async def test_tells_how_many_wait(self) -> None:
        gate = Event()
        async with HashingExecutor(threads=1, queue=5) as executor:
            assert executor.queue_depth == 0
            held = await _started(executor.run(gate.wait))
            assert executor.queue_depth == 0
            held += await _started(executor.run(gate.wait), executor.run(gate.wait))
            assert executor.queue_depth == 2
            gate.set()
            await asyncio.gather(*held)
        assert executor.queue_depth == 0

    async def test_serves_in_the_order_of_arrival(self) -> None:
        gate, notes = Event(), list[str]()
        async with HashingExecutor(threads=1, queue=5) as executor:
            held = await _started(
                executor.run(gate.wait), *(executor.run(_noting(notes, text)) for text in "abc")
            )
            gate.set()
            await asyncio.gather(*held)
        assert notes == ["a", "b", "c"]

    async def test_drops_the_work_of_a_caller_who_left_the_queue(self) -> None:
        gate, notes = Event(), list[str]()
        async with HashingExecutor(threads=1, queue=1) as executor:
            running, queued = await _started(
                executor.run(gate.wait), executor.run(_noting(notes, "left"))
            )
            queued.cancel()
            with pytest.raises(asyncio.CancelledError):
                await queued
            (successor,) = await _started(executor.run(_noting(notes, "stayed")))
            gate.set()
            await asyncio.gather(running, successor)
        assert notes == ["stayed"]

    async def test_keeps_the_place_of_work_that_runs_although_its_caller_left(self) -> None:
        gate, begun = Event(), Event()

        def hold() -> None:
            begun.set()
            gate.wait()

        async with HashingExecutor(threads=1, queue=0) as executor:
            (running,) = await _started(executor.run(hold))
            await asyncio.to_thread(begun.wait)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            with pytest.raises(HashingBusy):
                await executor.run(hold)
            gate.set()

    async def test_finishes_what_it_admitted_when_closed(self) -> None:
        gate = Event()
        executor = HashingExecutor(threads=1, queue=1)
        held = await _started(executor.run(gate.wait), executor.run(lambda: "done"))
        (closing,) = await _started(executor.aclose())
        with pytest.raises(HashingBusy):
            await executor.run(lambda: "late")
        gate.set()
        assert await asyncio.gather(*held) == [True, "done"]
        await closing

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is not given back")
    def test_gives_memory_back(self) -> None:
        ended = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", RESTING], capture_output=True, text=True, check=True, timeout=60
        )
        before, worked, rested = map(int, ended.stdout.split())
        assert worked > before + 50
        assert rested < before + 10

    async def test_ends_its_threads_when_closed(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            thread = await executor.run(threading.current_thread)
        assert not thread.is_alive()

    async def test_may_be_closed_twice(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            await executor.aclose()
