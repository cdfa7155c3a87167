import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.server.config import ServerConfig
from app.infra.server.graceful_server import GracefulServer
from app.infra.server.limits import ConnectionLimits
from app.infra.server.serve import OTHER_FILES
from development.port import free_port
from tests.plain_http import plain_client

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, os
from datetime import timedelta
from app.infra.server.config import ServeOptions
from app.infra.server.serve import serve_api

def create_app():
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
        await asyncio.sleep(1)
        await send({"type": "http.response.body", "body": b"finished %d" % os.getpid()})
    return app

BEGIN

if __name__ == "__main__":
    serve_api(ServeOptions(factory="program:create_app", host="127.0.0.1", port=PORT,
                           workers=WORKERS, grace=timedelta(seconds=5)))
"""


# Worker processes import the program under the name `__mp_main__`.
SLOW_START = """
import time
import app.infra.server.supervisor
app.infra.server.supervisor.HANGS_S = 1.5
time.sleep(3 if __name__ == "__mp_main__" else 0)
"""

LOGGED = """
import logging
logging.basicConfig(filename="log.txt", format="%(levelname)s %(message)s", level=logging.INFO)
"""


@contextmanager
def program(
    directory: Path, *, workers: int, begin: str = ""
) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server whose response takes a second; kill it in any case."""
    port = free_port()
    text = PROGRAM.replace("PORT", str(port)).replace("WORKERS", str(workers))
    (directory / "program.py").write_text(text.replace("BEGIN", begin))
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(directory)))},
    )
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()


def begin_request(process: subprocess.Popen[bytes], port: int) -> HTTPConnection:
    """Send a request as soon as the server listens."""
    while True:
        assert process.poll() is None, "the server has ended"
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/")
        except ConnectionRefusedError:
            connection.close()
        else:
            return connection


class TestServeApi:
    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_finishes_requests_and_exits_with_zero(
        self, tmp_path: Path, workers: int, number: int
    ) -> None:
        with program(tmp_path, workers=workers) as (process, port):
            connection = begin_request(process, port)
            response = connection.getresponse()
            begun = response.read(6)
            process.send_signal(number)
            assert (begun + response.read()).startswith(b"begun finished")
            assert process.wait(timeout=30) == 0
            connection.close()

    def test_raises_the_file_limit_to_the_connection_limit(self, tmp_path: Path) -> None:
        ours = resource.getrlimit(resource.RLIMIT_NOFILE)
        hard = ours[1]
        # The usual limit; the program inherits it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, ours[0]), hard))
        with program(tmp_path, workers=1) as (process, port):
            resource.setrlimit(resource.RLIMIT_NOFILE, ours)
            connection = begin_request(process, port)
            soft, _ = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            wanted = 2 * ConnectionLimits().connections + OTHER_FILES
            assert soft == (wanted if hard == resource.RLIM_INFINITY else min(hard, wanted))
            connection.getresponse().read()
            connection.close()

    def test_replaces_a_worker_that_died(self, tmp_path: Path) -> None:
        with program(tmp_path, workers=1 + 1) as (process, port):
            connection = begin_request(process, port)
            victim = int(connection.getresponse().read().split()[-1])
            connection.close()
            os.kill(victim, signal.SIGKILL)
            workers = {victim}
            while len(workers) < 3:
                connection = begin_request(process, port)
                workers.add(int(connection.getresponse().read().split()[-1]))
                connection.close()
            process.terminate()
            assert process.wait(timeout=30) == 0

    def test_does_not_kill_a_worker_that_starts_slowly(self, tmp_path: Path) -> None:
        with program(tmp_path, workers=2, begin=SLOW_START) as (process, port):
            connection = begin_request(process, port)
            first = int(connection.getresponse().read().split()[-1])
            assert first in {child.pid for child in psutil.Process(process.pid).children()}
            connection.close()
            process.terminate()
            assert process.wait(timeout=30) == 0

    def test_leaves_no_worker_on_the_port_when_it_is_killed(self, tmp_path: Path) -> None:
        with program(tmp_path, workers=2, begin=LOGGED) as (process, port):
            connection = begin_request(process, port)
            response = connection.getresponse()
            begun = response.read(6)
            workers = psutil.Process(process.pid).children()
            try:
                process.kill()
                process.wait()
                # The request in progress is finished; new connections are refused.
                assert (begun + response.read()).startswith(b"begun finished")
                connection.close()
                _, alive = psutil.wait_procs(workers, timeout=30)
                assert not alive
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port))
            finally:
                for worker in workers:
                    with suppress(psutil.NoSuchProcess):
                        worker.kill()
        lines = (tmp_path / "log.txt").read_text().splitlines()
        served, lost = "serving", "server_parent_lost"
        assert [line for line in lines if line.endswith(served)] == [f"INFO {served}"]
        assert [line for line in lines if line.endswith(lost)] == [f"WARNING {lost}"] * 2


class TestStopDuringStartup:
    """SIGTERM may reach a replacement worker while it starts."""

    async def test_is_not_ready_when_it_begins_to_listen(self, ignored_sigterm: None) -> None:
        seen: list[object] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await receive()
                server.handle_exit(signal.SIGTERM, None)
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
                return
            seen.append(scope["state"].get("draining"))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        drain = timedelta(seconds=5)
        server = GracefulServer(ServerConfig(app, limits=ConnectionLimits(), drain=drain))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            host, port = listener.getsockname()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(server.serve(sockets=[listener]))
                async with plain_client(timeout=30) as client:
                    assert (await client.get(f"http://{host}:{port}/")).status_code == 204
                # Skip the rest of the drain delay.
                server.force_exit = True
        assert seen == [True]

    async def test_does_not_begin_to_listen(self, ignored_sigterm: None) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            raise AssertionError("the application was called")

        def create_app() -> ASGIApp:
            server.handle_exit(signal.SIGTERM, None)
            return app

        server = GracefulServer(
            ServerConfig(create_app, factory=True, limits=ConnectionLimits())  # type: ignore[arg-type]  # uvicorn accepts a factory
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await server.serve(sockets=[listener])
        assert not server.started


@pytest.fixture
def ignored_sigterm() -> Generator[None]:
    """Ignore SIGTERM: uvicorn raises the signal again after it has stopped."""
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, former)
