"""500 slow or abusive clients on one server, which keeps serving other clients meanwhile."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.service.harness import Service, log_lines, running_service
from tests.plain_http import plain_client

ABUSIVE_CLIENTS = 504
REGULAR_CLIENTS = 6
BYTE_INTERVAL_S = 0.2
CLOSED = "closed"

HOST = b"Host: localhost\r\n"
POST = b"POST /auth/sign-up HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
# The largest response of the service.
SCRIPT = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"


class Client:
    """A client on a raw socket."""

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

    async def send(self, data: bytes) -> None:
        """Send all of the data."""
        await self._loop.sock_sendall(self._socket, data)

    async def send_slowly(self, data: bytes) -> None:
        """Send the data byte by byte."""
        for byte in data:
            await self.send(bytes([byte]))
            await asyncio.sleep(BYTE_INTERVAL_S)

    async def read_last_status(self) -> str:
        """Read until the server closes, and return the last status; `CLOSED` if there is none."""
        received = b""
        while data := await self._loop.sock_recv(self._socket, 65536):
            received += data
        _, found, status = received.rpartition(b"HTTP/1.1 ")
        return status[:3].decode() if found else CLOSED

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


async def silent(_: Client) -> None:
    """Send nothing."""


async def slow_head(client: Client) -> None:
    """Send a head byte by byte."""
    await client.send_slowly(b"GET /health/live HTTP/1.1\r\n" + HOST + b"X-Slow: " + b"a" * 1000)


async def slow_body(client: Client) -> None:
    """Send a body byte by byte."""
    await client.send(POST + b"Content-Length: 1000\r\n\r\n")
    await client.send_slowly(b"a" * 1000)


async def lost_client(client: Client) -> None:
    """Stop in the middle of a body, like a client that lost its network."""
    await client.send(POST + b'Content-Length: 1000\r\n\r\n{"name":')


async def idle(client: Client) -> None:
    """Send one request, and keep the connection open."""
    await client.send(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")


async def huge_head(client: Client) -> None:
    """Send an endless header."""
    await client.send(b"GET /health/live HTTP/1.1\r\n" + HOST + b"X-Huge: ")
    while True:
        await client.send(b"a" * 65536)


async def chunk_flood(client: Client) -> None:
    """Send endless chunks of one byte."""
    await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await client.send(b"1\r\na\r\n" * 10_000)


async def large_chunk_flood(client: Client) -> None:
    """Send endless larger chunks."""
    await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await client.send((b"1000\r\n" + b"a" * 4096 + b"\r\n") * 16)


async def tls_handshake(client: Client) -> None:
    """Begin a TLS handshake on the plain HTTP port."""
    await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200))


async def slow_reader(client: Client) -> None:
    """Request the largest response many times, and read nothing."""
    await client.send(SCRIPT * 20)


# The last status that each client may read. One that keeps sending may lose the response.
EXPECTED: dict[Callable[[Client], Awaitable[None]], set[str]] = {
    silent: {CLOSED},
    slow_head: {"408"},
    slow_body: {"408"},
    lost_client: {"408"},
    idle: {"200"},
    huge_head: {"431", CLOSED},
    chunk_flood: {"400", CLOSED},
    large_chunk_flood: {"413", CLOSED},
    tls_handshake: {"400"},
}


@pytest.fixture
def short_timeouts(new_database: Callable[..., str], tmp_path: Path) -> Generator[Service]:
    """Return a server with time-outs of four seconds."""
    with running_service(
        tmp_path,
        new_database(migrated=True),
        HEAD_TIMEOUT="4",
        BODY_TIMEOUT="4",
        READ_TIMEOUT="4",
        KEEP_ALIVE="4",
        # Generous, for a busy machine.
        DATABASE_POOL_TIMEOUT="15",
        REFRESH_LEASE="20",
    ) as service:
        yield service


async def test_do_not_affect_other_clients(short_timeouts: Service) -> None:
    service = short_timeouts
    address = urlsplit(service.urls[0])
    target = (address.hostname or "", address.port or 0)
    product_ids = [service.store.new_product() for _ in range(4)]
    ends: Counter[tuple[str, str]] = Counter()
    finished = asyncio.Event()

    async def abuse(behavior: Callable[[Client], Awaitable[None]]) -> None:
        client = Client(target)
        with closing(client):
            await client.connect()
            ends[behavior.__name__, await last_status(client, behavior)] += 1

    async def read_slowly() -> None:
        client = Client(target, window=4096)
        with closing(client):
            await client.connect()
            await slow_reader(client)
            await finished.wait()
            ends["slow_reader", await last_status(client, silent)] += 1

    async def use_regularly(product_id: int) -> list[int]:
        statuses = []
        async with plain_client(service.urls[0], timeout=30) as client:
            while not finished.is_set():
                responses = [
                    await client.get(f"/products/{product_id}"),
                    await client.get("/products"),
                    await client.get("/health/ready"),
                ]
                statuses += [response.status_code for response in responses]
        return statuses

    behaviors = [*EXPECTED, read_slowly]
    async with asyncio.TaskGroup() as group:
        regular = [
            group.create_task(use_regularly(product_ids[number % len(product_ids)]))
            for number in range(REGULAR_CLIENTS)
        ]
        readers = [
            group.create_task(read_slowly()) for _ in range(ABUSIVE_CLIENTS // len(behaviors))
        ]
        abusive = [
            group.create_task(abuse(list(EXPECTED)[number % len(EXPECTED)]))
            for number in range(ABUSIVE_CLIENTS - len(readers))
        ]
        await asyncio.gather(*abusive)
        await asyncio.to_thread(wait_for_read_timeouts, service, len(readers))
        finished.set()

    assert {status for task in regular for status in task.result()} == {200}
    assert all(task.result() for task in regular)
    assert {end for name, end in ends if name == "slow_reader"} == {CLOSED}
    for behavior, expected in EXPECTED.items():
        assert {end for name, end in ends if name == behavior.__name__} <= expected, ends
    assert ends.total() == ABUSIVE_CLIENTS
    lines = log_lines(service.host.said())
    assert not [line for line in lines if line["level"] in {"error", "critical"}]


async def last_status(client: Client, behavior: Callable[[Client], Awaitable[None]]) -> str:
    """Send and read at the same time, and return the last status."""
    sending = asyncio.ensure_future(behavior(client))
    try:
        return await client.read_last_status()
    except ConnectionError:
        return CLOSED
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def wait_for_read_timeouts(service: Service, readers: int) -> None:
    """Wait until the server has closed so many clients that read nothing."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        lines = [line for line in log_lines(service.host.said()) if line.get("awaited")]
        if sum(line["awaited"] == "reading" for line in lines) >= readers:
            return
        time.sleep(0.1)
    raise AssertionError("clients that read nothing are still connected")
