"""
A real nginx with the configuration that the profile `scale` has, in front of two replicas.

It comes with the operating system (Debian: nginx); without it these tests are skipped.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from development.port import free_port
from tests.listening import wait_until_listening
from tests.plain_http import plain_client
from tests.raw_connection import connected

SHIPPED = Path(__file__).parents[3] / "development" / "nginx" / "nginx.conf"
# Debian has it where only root looks.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
FASTER = 4
"""How many times sooner than what is shipped it loses patience with a replica."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PROBLEM = "application/problem+json"

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx")


class Replica:
    """What gives each the same `answer`, but does not while it is `frozen` or `broken`."""

    def __init__(self) -> None:
        self.frozen = False
        self.broken = False
        self.answer = OK
        self.asked: list[str] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        """Listen on a free port, and return it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Hang up."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.asked.append(head.decode().split("\r\n")[0].rpartition(" ")[0])
                if self.broken:
                    return
                if not self.frozen:
                    writer.write(self.answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            self._connections.discard(writer)
            writer.close()


@pytest_asyncio.fixture
async def replicas() -> AsyncGenerator[list[Replica]]:
    """Return two replicas that do not listen yet."""
    found = [Replica(), Replica()]
    yield found
    for replica in found:
        await replica.stop()


@pytest_asyncio.fixture
async def gateway(replicas: list[Replica], tmp_path: Path) -> AsyncGenerator[httpx2.AsyncClient]:
    """Return a client of an nginx in front of both."""
    ports = [await replica.start() for replica in replicas]
    port = free_port()
    with running_nginx(tmp_path, port, ports):
        async with plain_client(f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client


@contextmanager
def running_nginx(
    directory: Path, port: int, replica_ports: list[int], *, connections: int | None = None
) -> Generator[None]:
    """Run what is shipped, but for names, ports and patience, and with few `connections`."""
    assert NGINX is not None
    text = SHIPPED.read_text(encoding="utf-8").replace("/tmp/", f"{directory}/")  # noqa: S108 - its own, in its container
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    for number, replica_port in enumerate(replica_ports, 1):
        text = text.replace(f"server api-{number}:8080", f"server 127.0.0.1:{replica_port}")
    text, patience = re.subn(
        r"(proxy_(?:connect|read|next_upstream)_timeout) (\d+)s;",
        lambda found: f"{found[1]} {int(found[2]) * 1000 // FASTER}ms;",
        text,
    )
    assert patience == 3
    if connections is not None:
        # One process: a client cannot choose which of several serves it.
        text = text.replace("worker_processes 2;", "worker_processes 1;")
        text, found = re.subn(
            r"worker_connections \d+;", f"worker_connections {connections};", text
        )
        assert found == 1
    configuration = directory / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    # As root, nginx would run its processes as a user who cannot read this directory.
    more = "user root;" if os.geteuid() == 0 else ""
    process = subprocess.Popen(  # noqa: S603 - found on the PATH
        [NGINX, "-p", directory, "-c", configuration, "-g", f"daemon off; {more}"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until_listening(process, port)
        yield
    finally:
        process.terminate()
        process.wait()


class TestAReplicaThatIsFrozen:
    async def test_costs_who_reads_or_removes_nothing_but_time(
        self, gateway: httpx2.AsyncClient, replicas: list[Replica]
    ) -> None:
        replicas[0].frozen = True
        answers = await asyncio.gather(
            *(gateway.request(method, "/x") for method in ("GET", "DELETE", "PUT", "GET"))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert replicas[0].asked

    async def test_leaves_a_write_that_may_be_done_in_doubt_and_does_not_repeat_it(
        self, gateway: httpx2.AsyncClient, replicas: list[Replica]
    ) -> None:
        for replica in replicas:
            replica.frozen = True
        for method in ("POST", "PATCH"):
            asked = sum(len(replica.asked) for replica in replicas)
            assert_unavailable(await gateway.request(method, "/x"))
            assert sum(len(replica.asked) for replica in replicas) == asked + 1


class TestAReplicaThatHangsUp:
    async def test_costs_who_reads_nothing(
        self, gateway: httpx2.AsyncClient, replicas: list[Replica]
    ) -> None:
        replicas[1].broken = True
        answers = [await gateway.get("/x") for _ in range(4)]
        assert {answer.status_code for answer in answers} == {200}
        assert replicas[1].asked

    async def test_leaves_a_write_that_may_be_done_in_doubt_and_does_not_repeat_it(
        self, gateway: httpx2.AsyncClient, replicas: list[Replica]
    ) -> None:
        for replica in replicas:
            replica.broken = True
        assert_unavailable(await gateway.post("/x"))
        assert sum(len(replica.asked) for replica in replicas) == 1


class TestAReplicaThatIsGone:
    async def test_costs_a_write_nothing(
        self, gateway: httpx2.AsyncClient, replicas: list[Replica]
    ) -> None:
        await replicas[0].stop()
        answers = [await gateway.post("/x") for _ in range(4)]
        assert {answer.status_code for answer in answers} == {200}
        assert len(replicas[1].asked) == 4

    async def test_says_so_when_it_was_the_last(
        self, gateway: httpx2.AsyncClient, replicas: list[Replica]
    ) -> None:
        for replica in replicas:
            await replica.stop()
        assert_unavailable(await gateway.get("/x"))


class TestTheGateway:
    @pytest.mark.parametrize(
        ("request_", "status", "code"),
        [
            ({"headers": {"X-Huge": "a" * 9000}}, 431, "head_too_large"),
            ({"content": b"a" * 129 * 1024}, 413, "body_too_large"),
        ],
    )
    async def test_refuses_what_is_too_large_as_a_problem(
        self,
        gateway: httpx2.AsyncClient,
        replicas: list[Replica],
        request_: dict[str, object],
        status: int,
        code: str,
    ) -> None:
        answer = await gateway.request("POST", "/x", **request_)  # type: ignore[arg-type]  # one of two
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == PROBLEM
        assert code == answer.json()["code"]
        assert not [asked for replica in replicas for asked in replica.asked]

    @pytest.mark.parametrize("request_", ["TRACE / HTTP/1.1", "CONNECT / HTTP/1.1"])
    async def test_refuses_a_method_that_it_does_not_pass_on(
        self, gateway: httpx2.AsyncClient, request_: str
    ) -> None:
        head, problem = await said(gateway, f"{request_}\r\nHost: here\r\n\r\n")
        assert (head["status"], problem["code"]) == (405, "method_not_allowed")
        assert head["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"

    @pytest.mark.parametrize(
        "request_",
        [
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: gzip\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: here\r\n\r\n",
            "GET / HTTP/3.0\r\nHost: here\r\n\r\n",
            "CONNECT there:443 HTTP/1.1\r\nHost: there:443\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "no such thing\r\n\r\n",
        ],
    )
    async def test_blames_whoever_does_not_speak_http_1_1_and_not_itself(
        self, gateway: httpx2.AsyncClient, request_: str
    ) -> None:
        head, problem = await said(gateway, request_)
        assert (head["status"], problem["code"]) == (400, "bad_request")

    async def test_hides_where_it_keeps_its_problems(self, gateway: httpx2.AsyncClient) -> None:
        head, problem = await said(gateway, "GET /.problems/away HTTP/1.1\r\nHost: here\r\n\r\n")
        assert (head["status"], problem["code"]) == (404, "route_not_found")

    async def test_says_as_a_problem_that_it_has_no_connection_left(
        self, replicas: list[Replica], tmp_path: Path
    ) -> None:
        ports, most = [await replica.start() for replica in replicas], 16
        # Most connections are closed. Whether one of the others finds none left for a replica
        # depends on their order: repeat it with a new gateway, which has no open ones.
        for attempt in range(20):
            port = free_port()
            place = tmp_path / str(attempt)
            place.mkdir()
            with running_nginx(place, port, ports, connections=most):
                async with AsyncExitStack() as clients:
                    streams = []
                    for _ in range(2 * most):
                        reader, writer = await clients.enter_async_context(connected(port))
                        streams.append((reader, writer))
                        # nginx closes connections without a request first: send half a head.
                        writer.write(b"GET / HTTP/1.1\r\n")
                    answers = [await completed(*stream) for stream in streams]
            if refused := [each for each in answers if each and b" 200 OK" not in each]:
                break
        head, problem = understood(refused[0])
        assert (head["status"], problem["code"]) == (500, "internal_error")
        assert head["cache-control"] == "no-store"

    @pytest.mark.parametrize("status", [400, 404, 405, 413, 500, 501, 502, 503, 504, 505])
    async def test_passes_on_what_a_replica_refuses_as_it_is(
        self, gateway: httpx2.AsyncClient, replicas: list[Replica], status: int
    ) -> None:
        for replica in replicas:
            replica.answer = b"HTTP/1.1 %d Its Own\r\nContent-Length: 4\r\n\r\nmine" % status
        answer = await gateway.get("/x")
        assert (answer.status_code, answer.text) == (status, "mine")


async def completed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Say the rest of a request, and return the answer, if there is one."""
    try:
        writer.write(b"Host: here\r\nConnection: close\r\n\r\n")
        return await reader.read()
    except ConnectionError:
        return b""


async def said(gateway: httpx2.AsyncClient, request: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the head and the problem that are answered to what no client would send."""
    assert gateway.base_url.port is not None
    async with connected(gateway.base_url.port) as (reader, writer):
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        assert length is not None
        return understood(head + await reader.readexactly(int(length[1])))


def understood(answer: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the head of an answer and the problem that it is, which agree about it."""
    lines, _, body = answer.decode().partition("\r\n\r\n")
    first, *others = lines.split("\r\n")
    head: dict[str, Any] = {
        name.lower(): value for name, value in (line.split(": ", 1) for line in others)
    }
    head["status"] = int(first.split(" ")[1])
    assert head["content-type"] == PROBLEM, body
    problem: dict[str, Any] = json.loads(body)
    assert set(problem) >= {"type", "title", "status", "code", "request_id"}
    assert problem["status"] == head["status"]
    assert problem["request_id"] == head["x-request-id"]
    return head, problem


def assert_unavailable(answer: httpx2.Response) -> None:
    """Assert that it is what the API would say, and says when to come back."""
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == PROBLEM
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["code"] == "unavailable"
