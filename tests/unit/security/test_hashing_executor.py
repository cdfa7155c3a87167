import asyncio
import logging
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Coroutine
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types
import pytest
from typing_extensions import override

from app.domain.customer import Password, PasswordHash
from app.domain.outcome import HashingBusy
from app.infra.hashing import child_process, supervisor
from app.infra.hashing import executor as hashing_executor
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.cores import hashing_cores, usable_cores
from app.infra.hashing.executor import TASKS_PER_THREAD, HashingExecutor
from app.infra.hashing.process import NICENESS
from tests.hashing import (
    CHEAP,
    PASSWORD,
    freeze,
    hashing_processes,
    held,
    running,
    until,
)

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
WRONG = Password("battery staple")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

# Besides the hashing process it starts a process that outlives it and inherits all inheritable
# files.
SERVER = """
import asyncio, subprocess
from tests.hashing import running
from app.infra.hashing.executor import HashingExecutor

async def main():
    process = await running(executor := HashingExecutor(threads=1))
    other = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
    print(process.pid, other.pid, flush=True)
    await asyncio.sleep(600)

with asyncio.Runner(LOOP) as runner:
    runner.run(main())
"""
LOOPS = {
    "asyncio": "loop_factory=asyncio.new_event_loop",
    "uvloop": "loop_factory=__import__('uvloop').new_event_loop",
}


async def _started(*calls: Coroutine[Any, Any, T]) -> list[asyncio.Task[T]]:
    """Start calls in this order, and run each until it waits."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    return tasks


def _kib_for_huge_pages(process: psutil.Process) -> int:
    """Return for how much memory a process has requested huge pages (proc_pid_smaps(5))."""
    mapped = Path(f"/proc/{process.pid}/smaps").read_text(encoding="utf-8")
    mappings = re.findall(
        r"^Size: +(\d+) kB$.*?^VmFlags: (.*?)$", mapped, re.MULTILINE | re.DOTALL
    )
    return sum(int(size) for size, flags in mappings if "hg" in flags.split())


def _peak_kib(process: psutil.Process) -> int:
    """Return the peak memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


class TestHashingExecutor:
    async def test_hashes_and_compares(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            hashed = await executor.hash(CHEAP, PASSWORD)
            assert CHEAP.produced(hashed)
            assert await executor.matches(CHEAP, PASSWORD, hashed) is True
            assert await executor.matches(CHEAP, WRONG, hashed) is False
            assert await executor.matches(CHEAP, PASSWORD, None) is False
            assert await executor.matches(CHEAP, PASSWORD, PasswordHash("malformed")) is None

    async def test_runs_off_the_event_loop(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            async with held(executor):
                (call,) = await _started(executor.hash(CHEAP, PASSWORD))
                assert not call.done()
            assert CHEAP.produced(await call)

    @on_linux
    async def test_does_the_same_work_without_a_hash(self) -> None:
        costly = Argon2Parameters(memory_kib=128 * 1024, passes=1)
        async with HashingExecutor(threads=1) as executor:
            process = await running(executor)
            assert await executor.matches(costly, PASSWORD, None) is False
            assert _peak_kib(process) > costly.memory_kib

    async def test_reports_an_error_without_quoting_the_password(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            with pytest.raises(RuntimeError) as failure:
                await executor.hash(Argon2Parameters(memory_kib=1), PASSWORD)
            assert PASSWORD.value not in str(failure.value)
            assert CHEAP.produced(await executor.hash(CHEAP, PASSWORD))

    async def test_uses_at_most_the_given_threads(self) -> None:
        async with HashingExecutor(threads=2, queue=100) as executor:
            process = await running(executor)
            await asyncio.gather(*(executor.hash(CHEAP, PASSWORD) for _ in range(100)))
            # The main thread reads the tasks.
            assert process.num_threads() <= 1 + 2

    def test_uses_the_available_cores(self) -> None:
        assert 1 <= usable_cores() <= (os.cpu_count() or 1)
        assert hashing_cores() == usable_cores()
        assert hashing_cores(processes=1000) == 1

    async def test_refuses_calls_while_it_is_full(self) -> None:
        async with HashingExecutor(threads=1, queue=2) as executor:
            async with held(executor):
                calls = await _started(*(executor.hash(CHEAP, PASSWORD) for _ in range(3)))
                with pytest.raises(HashingBusy):
                    await executor.hash(CHEAP, PASSWORD)
            assert all(CHEAP.produced(hashed) for hashed in await asyncio.gather(*calls))
            assert CHEAP.produced(await executor.hash(CHEAP, PASSWORD))

    async def test_reports_its_queue_depth(self) -> None:
        async with HashingExecutor(threads=1, queue=5) as executor:
            async with held(executor):
                assert executor.queue_depth == 0
                calls = await _started(executor.hash(CHEAP, PASSWORD))
                assert executor.queue_depth == 0
                calls += await _started(*(executor.hash(CHEAP, PASSWORD) for _ in range(2)))
                assert executor.queue_depth == 2
            await asyncio.gather(*calls)
        assert executor.queue_depth == 0

    async def test_serves_in_the_order_of_arrival(self) -> None:
        done: list[str] = []

        async def record(text: str) -> None:
            await executor.hash(CHEAP, Password(text))
            done.append(text)

        async with HashingExecutor(threads=1, queue=5) as executor:
            async with held(executor):
                calls = await _started(*(record(text) for text in "abcd"))
            await asyncio.gather(*calls)
        assert done == ["a", "b", "c", "d"]

    @on_linux
    async def test_drops_a_queued_call_that_is_canceled(self) -> None:
        costly = Argon2Parameters(memory_kib=128 * 1024, passes=1)
        async with HashingExecutor(threads=1, queue=TASKS_PER_THREAD) as executor:
            async with held(executor) as process:
                sent = await _started(
                    *(executor.hash(CHEAP, PASSWORD) for _ in range(TASKS_PER_THREAD))
                )
                (queued,) = await _started(executor.hash(costly, PASSWORD))
                queued.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await queued
                (successor,) = await _started(executor.hash(CHEAP, PASSWORD))
            await asyncio.gather(*sent, successor)
            assert _peak_kib(process) < costly.memory_kib

    async def test_keeps_the_place_of_a_running_call_that_is_canceled(self) -> None:
        async with HashingExecutor(threads=1, queue=0) as executor, held(executor):
            (call,) = await _started(executor.hash(CHEAP, PASSWORD))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            with pytest.raises(HashingBusy):
                await executor.hash(CHEAP, PASSWORD)

    @on_linux
    async def test_releases_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(supervisor, "IDLE_S", 0.05)
        costly = Argon2Parameters(memory_kib=64 * 1024, passes=1)
        async with HashingExecutor(threads=2) as executor:
            process = await running(executor)
            before = process.memory_info().rss
            await asyncio.gather(*(executor.hash(costly, PASSWORD) for _ in range(4)))
            assert _peak_kib(process) > before // 1024 + 50 * 1024
            await until(lambda: process.memory_info().rss < before + 10 * 1024**2)

    @pytest.mark.skipif(
        not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(encoding="ascii"),
        reason="huge pages are not granted on request",
    )
    async def test_requests_huge_pages(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            process = await running(executor)
            # glibc unmaps the first allocation when it is freed, and then raises its threshold.
            for _ in range(2):
                await executor.hash(Argon2Parameters(), PASSWORD)
            assert _kib_for_huge_pages(process) > Argon2Parameters().memory_kib


class TestProcess:
    async def test_starts_once_on_demand_or_before(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            assert hashing_processes() == []
            executor.start()
            executor.start()
            await until(hashing_processes)
            assert [await running(executor)] == hashing_processes()

    async def test_has_a_low_priority_and_its_own_session(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            process = await running(executor)
            assert process.nice() == min(19, psutil.Process().nice() + NICENESS)
            assert os.getsid(process.pid) == process.pid

    async def test_gets_no_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JWT_KEYS", "test:a secret")
        async with HashingExecutor(threads=1) as executor:
            environment = (await running(executor)).environ()
        assert set(environment) <= {
            "PYTHONPATH",
            "LD_LIBRARY_PATH",
            "PYTHONHOME",
            "LC_CTYPE",
            "GLIBC_TUNABLES",
        }

    async def test_does_not_inherit_the_listening_socket(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.set_inheritable(True)
                address = listener.getsockname()
                await running(executor)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

    async def test_imports_nothing_from_the_working_directory(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("app.py", "json.py", "argon2.py"):
            (tmp_path / name).write_text("raise SystemExit('wrong module')")
        monkeypatch.chdir(tmp_path)
        async with HashingExecutor(threads=1) as executor:
            assert CHEAP.produced(await executor.hash(CHEAP, PASSWORD))

    async def test_has_the_same_import_path(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "argon2").mkdir()
        (tmp_path / "argon2" / "__init__.py").write_text("raise SystemExit('imported')")
        async with HashingExecutor(threads=1) as executor:
            monkeypatch.syspath_prepend(tmp_path)
            with pytest.raises(HashingBusy):
                await executor.hash(CHEAP, PASSWORD)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_ignores_signals_to_stop(self, number: signal.Signals) -> None:
        async with HashingExecutor(threads=1) as executor:
            process = await running(executor)
            process.send_signal(number)
            assert await running(executor) == process

    @on_linux
    async def test_survives_a_lack_of_memory(self, caplog: pytest.LogCaptureFixture) -> None:
        costly = Argon2Parameters(memory_kib=256 * 1024, passes=1)
        hashed = PasswordHash(costly.hash(PASSWORD.value.encode()))
        async with HashingExecutor(threads=1) as executor:
            process = await running(executor)
            former = resource.prlimit(process.pid, resource.RLIMIT_AS)
            least = process.memory_info().vms + 16 * 1024**2
            resource.prlimit(process.pid, resource.RLIMIT_AS, (least, former[1]))
            with pytest.raises(HashingBusy):
                await executor.hash(costly, PASSWORD)
            with pytest.raises(HashingBusy):
                await executor.matches(costly, PASSWORD, hashed)
            assert caplog.messages == ["hashing_out_of_memory"] * 2
            resource.prlimit(process.pid, resource.RLIMIT_AS, former)
            assert await executor.matches(costly, PASSWORD, hashed) is True
            assert [process] == hashing_processes()

    @pytest.mark.parametrize("loop", LOOPS)
    def test_does_not_outlive_a_server_that_is_killed(self, loop: str) -> None:
        program = SERVER.replace("LOOP", LOOPS[loop])
        with subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as server:
            assert server.stdout is not None
            process, other = map(psutil.Process, map(int, server.stdout.readline().split()))
            server.kill()
            try:
                _, alive = psutil.wait_procs([process], timeout=60)
                assert not alive
                assert other.is_running()
            finally:
                other.kill()


class TestDeath:
    """The process may die at any moment: callers notice only if it dies repeatedly."""

    async def test_while_idle(self, caplog: pytest.LogCaptureFixture) -> None:
        async with HashingExecutor(threads=1) as executor:
            process = await running(executor)
            process.kill()
            await until(lambda: caplog.messages)
            assert await running(executor) != process
        assert caplog.messages == ["hashing_process_lost"]
        assert vars(caplog.records[0])["exit_status"] == -signal.SIGKILL

    async def test_just_before_a_call(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            for _ in range(5):
                (await running(executor)).kill()
                # The supervisor has not noticed yet.
                assert CHEAP.produced(await executor.hash(CHEAP, PASSWORD))

    async def test_while_it_starts(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            (call,) = await _started(executor.hash(CHEAP, PASSWORD))
            await until(hashing_processes)
            hashing_processes()[0].kill()
            assert CHEAP.produced(await call)

    async def test_while_it_works(self) -> None:
        hashed = PasswordHash(CHEAP.hash(PASSWORD.value.encode()))
        async with HashingExecutor(threads=2, queue=4) as executor:
            async with held(executor) as process:
                calls = await _started(
                    *(executor.matches(CHEAP, each, hashed) for each in [PASSWORD, WRONG] * 3)
                )
                process.kill()
                assert await asyncio.gather(*calls) == [True, False] * 3
            assert executor.queue_depth == 0

    async def test_twice_with_the_same_task(self) -> None:
        async with HashingExecutor(threads=1, queue=TASKS_PER_THREAD) as executor:
            async with held(executor) as process:
                *unlucky, next_one = await _started(
                    *(executor.hash(CHEAP, PASSWORD) for _ in range(TASKS_PER_THREAD + 1))
                )
                process.kill()
                await until(lambda: [each for each in hashing_processes() if each != process])
                hashing_processes()[0].kill()
                for each in unlucky:
                    with pytest.raises(HashingBusy):
                        await each
            assert CHEAP.produced(await next_one)

    async def test_after_the_caller_was_canceled(self) -> None:
        async with HashingExecutor(threads=1, queue=0) as executor:
            async with held(executor) as process:
                (call,) = await _started(executor.hash(CHEAP, PASSWORD))
                call.cancel()
                process.kill()
                await until(lambda: not process.is_running())
            # The successor runs the task, and then its place is free.
            await until(lambda: executor.queue_depth == 0 and hashing_processes())
            await _admitted(executor)

    async def test_is_logged_without_the_id_of_the_first_request(self) -> None:
        request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
        seen: list[str | None] = []

        class Records(logging.Handler):
            @override
            def emit(self, record: logging.LogRecord) -> None:
                seen.append(request_id.get())

        records = Records()
        supervisor.logger.addHandler(records)
        try:
            async with HashingExecutor(threads=1) as executor:
                request_id.set("the first")
                (await running(executor)).kill()
                await until(lambda: seen)
        finally:
            supervisor.logger.removeHandler(records)
        assert seen == [None]


class TestHanging:
    """A process that neither ends nor responds is killed, and its caller gets an error."""

    async def test_ends_with_another_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with HashingExecutor(threads=1, queue=1) as executor:
            async with held(executor) as process:
                with monkeypatch.context() as impatient:
                    impatient.setattr(supervisor, "HUNG_S", 0.05)
                    (unlucky,) = await _started(executor.hash(CHEAP, PASSWORD))
                (next_one,) = await _started(executor.hash(CHEAP, PASSWORD))
                with pytest.raises(HashingBusy):
                    await unlucky
                assert CHEAP.produced(await next_one)
            assert not process.is_running()

    async def test_ends_also_if_the_caller_was_canceled(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with HashingExecutor(threads=1, queue=1) as executor, held(executor):
            with monkeypatch.context() as impatient:
                impatient.setattr(supervisor, "HUNG_S", 0.05)
                (canceled,) = await _started(executor.hash(CHEAP, PASSWORD))
            canceled.cancel()
            assert CHEAP.produced(await executor.hash(CHEAP, PASSWORD))


class TestStarting:
    async def test_may_fail(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        async with HashingExecutor(threads=1, queue=2) as executor:
            with monkeypatch.context() as broken:
                broken.setattr(sys, "executable", str(tmp_path / "nothing"))
                calls = await _started(*(executor.hash(CHEAP, PASSWORD) for _ in range(3)))
                for call in calls:
                    with pytest.raises(HashingBusy):
                        await call
            assert set(caplog.messages) == {"hashing_process_not_started"}
            assert CHEAP.produced(await executor.hash(CHEAP, PASSWORD))

    async def test_may_end_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with HashingExecutor(threads=1, queue=2) as executor:
            with monkeypatch.context() as broken:
                broken.setattr(sys, "executable", shutil.which("false"))
                calls = await _started(*(executor.hash(CHEAP, PASSWORD) for _ in range(3)))
                for call in calls:
                    with pytest.raises(HashingBusy):
                        await call
            assert CHEAP.produced(await executor.hash(CHEAP, PASSWORD))


class TestClosing:
    async def test_finishes_admitted_calls(self) -> None:
        executor = HashingExecutor(threads=1, queue=1)
        async with held(executor):
            calls = await _started(*(executor.hash(CHEAP, PASSWORD) for _ in range(2)))
            (closing,) = await _started(executor.aclose())
            with pytest.raises(HashingBusy):
                await executor.hash(CHEAP, PASSWORD)
        assert all(CHEAP.produced(hashed) for hashed in await asyncio.gather(*calls))
        await closing

    async def test_finishes_them_in_another_process_if_necessary(self) -> None:
        executor = HashingExecutor(threads=1, queue=1)
        async with held(executor) as process:
            calls = await _started(*(executor.hash(CHEAP, PASSWORD) for _ in range(2)))
            (closing,) = await _started(executor.aclose())
            process.kill()
            assert all(CHEAP.produced(hashed) for hashed in await asyncio.gather(*calls))
        await closing
        assert hashing_processes() == []

    async def test_stops_the_process(self, caplog: pytest.LogCaptureFixture) -> None:
        async with HashingExecutor(threads=1) as executor:
            process = await running(executor)
        assert not process.is_running()
        assert caplog.messages == []

    async def test_kills_a_process_that_does_not_respond(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hashing_executor, "DRAIN_TIMEOUT_S", 0.05)
        monkeypatch.setattr(child_process, "STOP_TIMEOUT_S", 0.05)
        executor = HashingExecutor(threads=1, queue=2)
        process = await running(executor)
        await freeze(process)
        calls = await _started(*(executor.hash(CHEAP, PASSWORD) for _ in range(3)))
        await executor.aclose()
        for call in calls:
            with pytest.raises(HashingBusy):
                await call
        assert not process.is_running()
        assert hashing_processes() == []

    @pytest.mark.parametrize("steps", range(6))
    async def test_stops_a_process_that_is_starting(self, steps: int) -> None:
        async with HashingExecutor(threads=1) as executor:
            executor.start()
            for _ in range(steps):
                await asyncio.sleep(0)
        assert hashing_processes() == []

    async def test_stops_the_process_also_when_it_is_canceled(self) -> None:
        executor = HashingExecutor(threads=1, queue=1)
        async with held(executor) as process:
            calls = await _started(*(executor.hash(CHEAP, PASSWORD) for _ in range(2)))
            (closing,) = await _started(executor.aclose())
            closing.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await closing
        for call in calls:
            with pytest.raises(HashingBusy):
                await call
        assert not process.is_running()

    async def test_may_be_done_twice(self) -> None:
        async with HashingExecutor(threads=1) as executor:
            await executor.hash(CHEAP, PASSWORD)
            await executor.aclose()
            await executor.aclose()

    async def test_may_happen_without_any_call(self) -> None:
        async with HashingExecutor(threads=1):
            pass
        assert hashing_processes() == []


async def _admitted(executor: HashingExecutor) -> None:
    """Hash as soon as there is room in the queue."""
    async with asyncio.timeout(60):
        while True:
            try:
                await executor.hash(CHEAP, PASSWORD)
            except HashingBusy:
                await asyncio.sleep(0.005)
            else:
                return
