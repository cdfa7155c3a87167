"""500 slow and rude clients at one server: it holds them, and serves everybody else meanwhile."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.service.harness import Service, log_lines, running_service
from tests.plain_http import plain_client

RUDE = 504
OTHERS = 6
DRIP_S = 0.2
CLOSED = "closed"

HOST = b"Host: localhost\r\n"
POST = b"POST /auth/sign-up HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
# The largest answer there is: a page's script.
SCRIPT = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"


class Client:
    """A connection without manners, on a socket of its own."""

    def __init__(self, address: tuple[str, int], *, window: int | None = None) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket()
        if window is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self._socket.setblocking(False)

    async def connect(self) -> None:
        """Connect."""
        await self._loop.sock_connect(self._socket, self._address)

    async def say(self, words: bytes) -> None:
        """Send this."""
        await self._loop.sock_sendall(self._socket, words)

    async def drip(self, words: bytes) -> None:
        """Send this byte by byte."""
        for byte in words:
            await self.say(bytes([byte]))
            await asyncio.sleep(DRIP_S)

    async def end(self) -> str:
        """Return the last status that is answered before the server hangs up, or `CLOSED`."""
        heard = b""
        while some := await self._loop.sock_recv(self._socket, 65536):
            heard += some
        _, found, status = heard.rpartition(b"HTTP/1.1 ")
        return status[:3].decode() if found else CLOSED

    def hang_up(self) -> None:
        """Close the socket."""
        self._socket.close()


async def silent(_: Client) -> None:
    """Say nothing at all."""


async def slow_head(client: Client) -> None:
    """Send a head byte by byte."""
    await client.drip(b"GET /health/live HTTP/1.1\r\n" + HOST + b"X-Slow: " + b"a" * 1000)


async def slow_body(client: Client) -> None:
    """Send a body byte by byte."""
    await client.say(POST + b"Content-Length: 1000\r\n\r\n")
    await client.drip(b"a" * 1000)


async def gone(client: Client) -> None:
    """Stop in the middle of a body, as one does whose cable is cut."""
    await client.say(POST + b'Content-Length: 1000\r\n\r\n{"name":')


async def idle(client: Client) -> None:
    """Ask once, and sit there."""
    await client.say(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")


async def huge_head(client: Client) -> None:
    """Send a header that never ends."""
    await client.say(b"GET /health/live HTTP/1.1\r\n" + HOST + b"X-Huge: ")
    while True:
        await client.say(b"a" * 65536)


async def chunk_flood(client: Client) -> None:
    """Send chunks of a byte, without end."""
    await client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await client.say(b"1\r\na\r\n" * 10_000)


async def large_chunk_flood(client: Client) -> None:
    """Send larger chunks, without end."""
    await client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await client.say((b"1000\r\n" + b"a" * 4096 + b"\r\n") * 16)


async def noise(client: Client) -> None:
    """Speak TLS to a server that does not."""
    await client.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200))


async def slow_reader(client: Client) -> None:
    """Ask for the largest answer, many times over, and read none of it."""
    await client.say(SCRIPT * 20)


# How each may end. One who goes on sending may miss what he is told.
ENDS: dict[Callable[[Client], Awaitable[None]], set[str]] = {
    silent: {CLOSED},
    slow_head: {"408"},
    slow_body: {"408"},
    gone: {"408"},
    idle: {"200"},
    huge_head: {"431", CLOSED},
    chunk_flood: {"400", CLOSED},
    large_chunk_flood: {"413", CLOSED},
    noise: {"400"},
}


@pytest.fixture
def impatient(new_database: Callable[..., str], tmp_path: Path) -> Generator[Service]:
    """Return a server that waits for nobody longer than four seconds."""
    with running_service(
        tmp_path,
        new_database(migrated=True),
        HEAD_TIMEOUT="4",
        BODY_TIMEOUT="4",
        READ_TIMEOUT="4",
        KEEP_ALIVE="4",
        # However busy the machine is.
        DATABASE_POOL_TIMEOUT="15",
        REFRESH_LEASE="20",
    ) as service:
        yield service


async def test_cost_others_nothing_but_time(impatient: Service) -> None:
    service = impatient
    address = urlsplit(service.urls[0])
    where = (address.hostname or "", address.port or 0)
    product_ids = [service.store.new_product() for _ in range(4)]
    ends: Counter[tuple[str, str]] = Counter()
    over = asyncio.Event()

    async def be_rude(how: Callable[[Client], Awaitable[None]]) -> None:
        client = Client(where)
        with hanging_up(client):
            await client.connect()
            ends[how.__name__, await how_it_ends(client, how)] += 1

    async def read_slowly() -> None:
        client = Client(where, window=4096)
        with hanging_up(client):
            await client.connect()
            await slow_reader(client)
            await over.wait()
            ends["slow_reader", await how_it_ends(client, silent)] += 1

    async def be_polite(product_id: int) -> list[int]:
        statuses = []
        async with plain_client(service.urls[0], timeout=30) as client:
            while not over.is_set():
                answers = [
                    await client.get(f"/products/{product_id}"),
                    await client.get("/products"),
                    await client.get("/health/ready"),
                ]
                statuses += [answer.status_code for answer in answers]
        return statuses

    kinds = [*ENDS, read_slowly]
    async with asyncio.TaskGroup() as group:
        others = [
            group.create_task(be_polite(product_ids[number % len(product_ids)]))
            for number in range(OTHERS)
        ]
        readers = [group.create_task(read_slowly()) for _ in range(RUDE // len(kinds))]
        rude = [
            group.create_task(be_rude(list(ENDS)[number % len(ENDS)]))
            for number in range(RUDE - len(readers))
        ]
        await asyncio.gather(*rude)
        await asyncio.to_thread(cut_off, service, len(readers))
        over.set()

    assert {status for task in others for status in task.result()} == {200}
    assert all(task.result() for task in others)
    slow = {end for kind, end in ends if kind == "slow_reader"}
    assert slow == {CLOSED}
    for how, expected in ENDS.items():
        assert {end for kind, end in ends if kind == how.__name__} <= expected, ends
    assert ends.total() == RUDE
    said = log_lines(service.host.said())
    assert not [line for line in said if line["level"] in {"error", "critical"}]


@contextmanager
def hanging_up(client: Client) -> Generator[None]:
    """Close the client's socket in the end."""
    try:
        yield
    finally:
        client.hang_up()


async def how_it_ends(client: Client, how: Callable[[Client], Awaitable[None]]) -> str:
    """Be rude and listen at the same time, and return what comes of it."""
    talking = asyncio.ensure_future(how(client))
    try:
        return await client.end()
    except ConnectionError:
        return CLOSED
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)


def cut_off(service: Service, readers: int) -> None:
    """Wait until the server has given up so many clients that read nothing."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        lines = [line for line in log_lines(service.host.said()) if line.get("awaited")]
        if sum(line["awaited"] == "reading" for line in lines) >= readers:
            return
        time.sleep(0.1)
    raise AssertionError("clients that read nothing are kept")
