"""
A real nginx with the configuration that the profile `scale` has, in front of two replicas.

It comes with the operating system (Debian: nginx); without it these tests are skipped.
"""

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from development.port import free_port

SHIPPED = Path(__file__).parents[3] / "development" / "nginx" / "nginx.conf"
# Debian has it where only root looks.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
START_S = 20.0
FASTER = 4
"""How many times sooner than what is shipped it loses patience with a replica."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx")


class Replica:
    """What answers everything with 200, but does not while it is `frozen` or `broken`."""

    def __init__(self) -> None:
        self.frozen = False
        self.broken = False
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
                    writer.write(OK)
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
        await _listens(port)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client


@contextmanager
def running_nginx(directory: Path, port: int, replica_ports: list[int]) -> Generator[None]:
    """Run what is shipped, but for names, ports and patience."""
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
    configuration = directory / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    # As root it would give its processes to somebody who may not look into this directory.
    more = "user root;" if os.geteuid() == 0 else ""
    process = subprocess.Popen(  # noqa: S603 - found on the PATH
        [NGINX, "-p", directory, "-c", configuration, "-g", f"daemon off; {more}"],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _listens(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nginx does not listen"
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


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
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert code == answer.json()["code"]
        assert not [asked for replica in replicas for asked in replica.asked]


def assert_unavailable(answer: httpx2.Response) -> None:
    """Assert that it is what the API would say, and says when to come back."""
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["code"] == "unavailable"
