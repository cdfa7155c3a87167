import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types
import pytest
import pytest_asyncio
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.infra.http.server import HEAD_MAX_BYTES, BoundedHttpProtocol

ROOT = Path(__file__).parents[2]
SECOND_OF_WORK = """
import asyncio, os
from datetime import timedelta
from app.infra.http.server import ServeOptions, serve_api

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


# Its processes import it under another name.
TAKES_LONG_TO_START = """
import time
import app.infra.http.server
app.infra.http.server.HANGS_S = 1.5
time.sleep(3 if __name__ == "__mp_main__" else 0)
"""


@contextmanager
def program(
    directory: Path, *, workers: int, begin: str = ""
) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server whose only answer takes a second; end it whatever happens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    text = SECOND_OF_WORK.replace("PORT", str(port)).replace("WORKERS", str(workers))
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

    def test_does_not_take_a_worker_that_is_starting_for_one_that_hangs(
        self, tmp_path: Path
    ) -> None:
        with program(tmp_path, workers=2, begin=TAKES_LONG_TO_START) as (process, port):
            connection = begin_request(process, port)
            first = int(connection.getresponse().read().split()[-1])
            assert first in {child.pid for child in psutil.Process(process.pid).children()}
            connection.close()
            process.terminate()
            assert process.wait(timeout=30) == 0

    def test_leaves_nobody_behind_who_holds_the_port_when_it_is_killed(
        self, tmp_path: Path
    ) -> None:
        with program(tmp_path, workers=2) as (process, port):
            connection = begin_request(process, port)
            response = connection.getresponse()
            begun = response.read(6)
            workers = psutil.Process(process.pid).children()
            try:
                process.kill()
                process.wait()
                # What was under way is finished, and nobody else is let in.
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


async def accept(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer any request once its body is there."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture
def state() -> ServerState:
    """Return the connections of our protocol."""
    return ServerState()


@pytest_asyncio.fixture
async def port(state: ServerState) -> AsyncGenerator[int]:
    """Return where our protocol is spoken."""
    config = uvicorn.Config(
        accept, http=BoundedHttpProtocol, lifespan="off", log_config=None, access_log=False
    )
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: BoundedHttpProtocol(config=config, server_state=state, app_state={}),
        "127.0.0.1",
        0,
    )
    yield server.sockets[0].getsockname()[1]
    for connection in list(state.connections):
        connection.transport.close()
    server.close()
    await server.wait_closed()


async def exchange(port: int, *parts: bytes) -> bytes:
    """Return what the server says to this before it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        answer = await reader.read(12)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return answer


class TestBoundedHttpProtocol:
    @pytest.mark.parametrize("size", [0, HEAD_MAX_BYTES // 2])
    async def test_lets_a_large_header_pass(self, port: int, size: int) -> None:
        head = b"GET / HTTP/1.1\r\nHost: here\r\nCookie: " + b"a" * size + b"\r\n\r\n"
        assert await exchange(port, head) == b"HTTP/1.1 204"

    @pytest.mark.parametrize(
        "request_",
        [
            b"GET / HTTP/1.1\r\nHost: here\r\nX: \x1b[31m\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: here\r\nX: a\x00b\r\n\r\n",
            b"NOPE / HTTP/1.1\r\nHost: here\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ],
    )
    async def test_words_what_is_not_http_as_every_other_problem(
        self, port: int, request_: bytes
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"content-type: application/problem+json\r\n" in head
        assert b"connection: close" in head
        problem = json.loads(body)
        assert (problem["code"], problem["status"]) == ("malformed_request", 400)
        assert problem["request_id"]

    async def test_lets_a_body_pass(self, port: int) -> None:
        head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1048576\r\n\r\n"
        assert await exchange(port, head, *[b"a" * 65536] * 16) == b"HTTP/1.1 204"

    @pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nHost: here\r\nX-Endless: "])
    async def test_cuts_off_a_head_without_an_end(self, port: int, start: bytes) -> None:
        assert await exchange(port, start, *[b"a" * 65536] * 16) == b""

    async def test_cuts_off_trailers_without_an_end(self, port: int) -> None:
        start = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        assert await exchange(port, start, *[b"X-More: trailers\r\n" * 4096] * 16) == b""

    async def test_answers_a_request_that_was_on_its_way_when_the_server_stopped(
        self, port: int, state: ServerState
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
        writer.write(request)
        first = await reader.readuntil(b"\r\n\r\n")
        for connection in state.connections:
            connection.shutdown()
            assert connection.app_state == {"draining": True}
        writer.write(request)
        last = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert first.startswith(b"HTTP/1.1 204")
        assert b"connection: close" not in first
        assert last.startswith(b"HTTP/1.1 204")
        assert b"connection: close" in last
