"""Connection limits and the responses of the server itself, tested on real sockets."""

import asyncio
import gc
import json
import logging
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.http.middleware.security_headers import security_headers
from app.infra.http.refusal import write_refusal
from app.infra.server.config import ServerConfig
from app.infra.server.connections import Connections
from app.infra.server.disconnect import DisconnectReason
from app.infra.server.limits import HEAD_MAX_BYTES, PIECES_MAX, ConnectionLimits
from app.infra.server.protocol import BoundedHttpProtocol
from app.infra.server.refusal import STATUS, RefusalWriter, write_empty_refusal
from app.infra.server.response_cycle import ResponseCycle
from tests.raw_connection import connected

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\n\r\n"
GET_LARGE = GET.replace(b"/", b"/large", 1)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
LONG = ConnectionLimits(head=MINUTE, body=MINUTE, reading=MINUTE, keep_alive=MINUTE)
LARGE = 32 * 1024 * 1024


async def accept(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond when the body is complete; to `/large` with more than socket buffers hold."""
    assert scope["type"] == "http"
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    if scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(LARGE)})
        return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


class RecordingObserver:
    """Keep the last numbers of connections and the sum of all disconnections."""

    def __init__(self) -> None:
        self.open = self.limit = -1
        self.cut_off: Counter[str] = Counter()

    def __call__(self, *, open_: int, limit: int, cut_off: Mapping[str, int]) -> None:
        """Record a report."""
        assert set(cut_off) == {reason.value for reason in DisconnectReason}
        self.open, self.limit = open_, limit
        self.cut_off.update(cut_off)

    @property
    def reasons(self) -> dict[str, int]:
        """Return the number of disconnections for each reason that occurred."""
        return dict(+self.cut_off)


@pytest.fixture
def observed() -> RecordingObserver:
    """Return the observer of the connections."""
    return RecordingObserver()


@pytest.fixture
def limits() -> ConnectionLimits:
    """Return limits that no test reaches."""
    return LONG


@pytest.fixture
def state(limits: ConnectionLimits) -> Connections:
    """Return the connections of the server."""
    return Connections(limits)


@pytest.fixture
def app() -> ASGIApp:
    """Return the application."""
    return accept


@pytest.fixture
def refuse() -> RefusalWriter:
    """Return the writer of the server's own responses."""
    return write_refusal


@pytest_asyncio.fixture
async def port(
    state: Connections, observed: RecordingObserver, app: ASGIApp, refuse: RefusalWriter
) -> AsyncGenerator[int]:
    """Return the port of a server with this protocol."""
    config = ServerConfig(
        app, limits=state.limits, refuse=refuse, lifespan="off", access_log=False
    )
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: BoundedHttpProtocol(config=config, server_state=state, app_state={}),
        "127.0.0.1",
        0,
    )
    state.start_checks(observed)
    yield server.sockets[0].getsockname()[1]
    state.stop_checks()
    for connection in list(state.connections):
        connection.transport.abort()
    server.close()
    await server.wait_closed()


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send the parts, and return the first 12 bytes of the response; empty if there is none."""
    async with connected(port) as (reader, writer):
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await reader.read(12)
        except ConnectionError:
            return b""


async def read_all(port: int, *parts: bytes) -> bytes:
    """Send the parts, and return everything the server sends until it closes."""
    async with connected(port) as (reader, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the server has caused this condition."""
    while not condition():  # noqa: ASYNC110 - the server sets no events for tests
        await asyncio.sleep(0.001)


def line_of(caplog: pytest.LogCaptureFixture, event: str) -> dict[str, Any]:
    """Return the only log record of an event."""
    [record] = [record for record in caplog.records if record.getMessage() == event]
    return vars(record)


class TestBoundedHttpProtocol:
    @pytest.mark.parametrize("size", [0, HEAD_MAX_BYTES // 2])
    async def test_accepts_a_large_header(self, port: int, size: int) -> None:
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
    async def test_answers_invalid_http_with_a_problem(self, port: int, request_: bytes) -> None:
        response = await read_all(port, request_)
        head, _, body = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"content-type: application/problem+json\r\n" in head
        assert b"connection: close" in head
        problem = json.loads(body)
        assert (problem["code"], problem["status"]) == ("malformed_request", 400)
        assert problem["request_id"]

    async def test_accepts_a_body(self, port: int) -> None:
        head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1048576\r\n\r\n"
        assert await exchange(port, head, *[b"a" * 65536] * 16) == b"HTTP/1.1 204"

    @pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nHost: here\r\nX-Endless: "])
    async def test_refuses_an_endless_head(self, port: int, start: bytes) -> None:
        assert await exchange(port, start, *[b"a" * 65536] * 8) == b"HTTP/1.1 431"

    async def test_refuses_endless_trailers(self, port: int) -> None:
        start = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        assert (
            await exchange(port, start, *[b"X-More: trailers\r\n" * 4096] * 8) == b"HTTP/1.1 431"
        )

    async def test_refuses_a_body_in_too_many_pieces(self, port: int) -> None:
        start = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
        response = await read_all(port, start, b"1\r\na\r\n" * (PIECES_MAX + 1))
        assert response.startswith(b"HTTP/1.1 400")
        assert b"too many pieces" in response

    async def test_accepts_a_body_in_many_large_pieces(self, port: int) -> None:
        start = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
        pieces = b"10\r\n0123456789abcdef\r\n" * (2 * PIECES_MAX)
        assert await exchange(port, start, pieces, b"0\r\n\r\n") == b"HTTP/1.1 204"

    async def test_answers_a_request_that_arrives_during_shutdown(
        self, port: int, state: Connections
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


class TestResponseCycle:
    """The head is sent with the first piece of the body."""

    @pytest.fixture
    def head_sent(self) -> asyncio.Event:
        """Return an event that is set when the application has sent a head."""
        return asyncio.Event()

    @pytest.fixture
    def send_body(self) -> asyncio.Event:
        """Return the event that the application awaits before it sends the body."""
        return asyncio.Event()

    @pytest.fixture
    def app(self, head_sent: asyncio.Event, send_body: asyncio.Event) -> ASGIApp:
        """Return an application that responds with the status in the path."""

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            status = int(scope["path"].strip("/"))
            length = [(b"content-length", b"4")] if status == 200 else []
            await send({"type": "http.response.start", "status": status, "headers": length})
            head_sent.set()
            await send_body.wait()
            body = b"body" if status == 200 else b""
            await send({"type": "http.response.body", "body": body})

        return respond

    async def test_holds_the_head_back_until_there_is_some_of_the_body(
        self, port: int, head_sent: asyncio.Event, send_body: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, GET.replace(b"/", b"/200", 1))
            await head_sent.wait()
            with pytest.raises(BlockingIOError):
                client.recv(1)
            send_body.set()
            received = await loop.sock_recv(client, 65536)
        assert received.startswith(b"HTTP/1.1 200")
        assert received.endswith(b"\r\n\r\nbody")

    @pytest.mark.parametrize(
        ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 404)]
    )
    @pytest.mark.parametrize("last", [True, False])
    async def test_sends_a_response_without_a_body(
        self, port: int, send_body: asyncio.Event, method: str, status: int, last: bool
    ) -> None:
        send_body.set()
        request = GET.replace(b"GET /", f"{method} /{status}".encode(), 1)
        if last:
            closing = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            assert (await read_all(port, closing)).count(f"HTTP/1.1 {status}".encode()) == 1
        else:
            async with connected(port) as (reader, writer):
                writer.write(request * 2)
                for _ in range(2):
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(f"HTTP/1.1 {status}".encode())
                    if b"chunked" in head:
                        assert await reader.readexactly(5) == b"0\r\n\r\n"

    async def test_creates_no_reference_cycle(self, port: int, send_body: asyncio.Event) -> None:
        send_body.set()
        async with connected(port) as (reader, writer):
            for _ in range(3):
                writer.write(GET.replace(b"/", b"/200", 1))
                await reader.readuntil(b"body")
            gc.collect()
            gc.disable()
            try:
                for _ in range(5):
                    writer.write(GET.replace(b"/", b"/200", 1))
                    await reader.readuntil(b"body")
                left = [each for each in gc.get_objects() if type(each) is ResponseCycle]
            finally:
                gc.enable()
        assert len(left) <= 2


START: Message = {"type": "http.response.start", "status": 200, "headers": []}
FOUR: Message = {**START, "headers": [(b"content-length", b"4")]}
CONFUSING: Message = {**START, "headers": [(b"x-name", b"a\r\nset-cookie: b")]}
REST: Message = {"type": "http.response.body", "body": b"rest"}
PIECE: Message = {**REST, "more_body": True}


class TestApplicationMessages:
    """Valid messages are framed; for invalid ones there is an error response if possible."""

    @pytest.fixture
    def messages(self) -> list[Message]:
        """Return the messages that the application sends before it fails."""
        return []

    @pytest.fixture
    def app(self, messages: list[Message]) -> ASGIApp:
        """Return an application that sends the messages and fails."""

        async def fail(scope: Scope, receive: Receive, send: Send) -> None:
            for message in messages:
                await send(message)
            raise RuntimeError("a bug")

        return fail

    @pytest.mark.parametrize(
        ("messages", "end"),
        [
            ([FOUR, REST], b"\r\n\r\nrest"),
            ([FOUR, {**REST, "body": b"re", "more_body": True}, {**REST, "body": b"st"}], b"rest"),
            ([START, REST], b"\r\n\r\n4\r\nrest\r\n0\r\n\r\n"),
            ([START, PIECE, {**REST, "body": b""}], b"\r\n\r\n4\r\nrest\r\n0\r\n\r\n"),
            ([START, {**REST, "body": b""}], b"\r\n\r\n0\r\n\r\n"),
        ],
    )
    async def test_are_framed(self, port: int, end: bytes) -> None:
        response = await read_all(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        assert response.count(b"connection: close\r\n") == 1
        assert response.endswith(end)

    @pytest.mark.parametrize(
        "messages",
        [
            [],
            [START],
            [FOUR],
            [START, START],
            [REST],
            [FOUR, {**REST, "body": b"re"}],
            [FOUR, {**REST, "body": b"rest and more"}],
            [{**FOUR, "headers": [*FOUR["headers"], *CONFUSING["headers"]]}],
            [CONFUSING, REST],
        ],
    )
    async def test_become_a_problem_if_nothing_was_sent(self, port: int) -> None:
        head, _, body = (await read_all(port, GET)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert b"content-type: application/problem+json\r\n" in head
        assert b"x-content-type-options: nosniff\r\n" in head
        assert b"set-cookie" not in head
        assert head.count(b"connection: close") == 1
        problem = json.loads(body)
        assert (problem["code"], problem["status"]) == ("internal_error", 500)
        assert f"x-request-id: {problem['request_id']}".encode() in head

    @pytest.mark.parametrize("messages", [[START, PIECE], [FOUR, {**PIECE, "body": b"re"}]])
    async def test_are_cut_off_if_part_was_sent(self, port: int, messages: list[Message]) -> None:
        response = await read_all(port, GET)
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not response.endswith((b"0\r\n\r\n", b"rest"))


def short_limits(**limits: float) -> pytest.MarkDecorator:
    """Set these limits to so many seconds; the others stay long."""
    given: dict[str, Any] = {name: timedelta(seconds=limit) for name, limit in limits.items()}
    return pytest.mark.parametrize("limits", [replace(LONG, **given)])


class TestTimeouts:
    @short_limits(head=0.1)
    @pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost: here\r\nX-Slow: a"])
    async def test_refuses_an_incomplete_head(self, port: int, start: bytes) -> None:
        response = await read_all(port, start)
        head, _, body = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"content-type: application/problem+json\r\n" in head
        assert b"connection: close" in head
        assert json.loads(body)["code"] == "request_timeout"

    @short_limits(head=0.1)
    async def test_starts_again_for_each_head(self, port: int) -> None:
        response = await read_all(port, GET + GET[:-2])
        assert response.startswith(b"HTTP/1.1 204")
        assert b"HTTP/1.1 408" in response

    @short_limits(head=0.1)
    @pytest.mark.parametrize("nothing", [b"", b"\r\n"])
    async def test_closes_silently_if_nothing_was_sent(self, port: int, nothing: bytes) -> None:
        assert await read_all(port, nothing) == b""

    @short_limits(body=0.1)
    @pytest.mark.parametrize(
        "rest", [b"Content-Length: 4\r\n\r\na", b"Transfer-Encoding: chunked\r\n\r\n1\r\na"]
    )
    async def test_refuses_an_incomplete_body(self, port: int, rest: bytes) -> None:
        response = await read_all(port, b"POST / HTTP/1.1\r\nHost: here\r\n" + rest)
        assert response.startswith(b"HTTP/1.1 408")

    @short_limits(keep_alive=0.1)
    @pytest.mark.parametrize("nothing", [b"", b"\r\n"])
    async def test_closes_an_idle_connection(self, port: int, nothing: bytes) -> None:
        response = await read_all(port, GET + nothing)
        assert response.startswith(b"HTTP/1.1 204")
        assert response.count(b"HTTP/1.1") == 1

    @short_limits(reading=0.1)
    async def test_resets_a_connection_whose_client_does_not_read(
        self, port: int, state: Connections
    ) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(GET_LARGE)
            await until(lambda: state.total_requests == 1)
            await until(lambda: not state.connections)
            with pytest.raises(ConnectionResetError), client.makefile("rb") as response:
                response.read()

    @short_limits(reading=0.5)
    async def test_keeps_a_connection_whose_client_reads_slowly(
        self, port: int, state: Connections
    ) -> None:
        with socket.socket() as client:
            # Unread data then stays in the send buffer of the server.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.connect(("127.0.0.1", port))
            client.sendall(GET_LARGE)
            await until(lambda: state.total_requests == 1)
            for _ in range(150):
                # So little that uvloop refills the send buffer only after many checks.
                assert client.recv(4096)
                await asyncio.sleep(0.01)
            assert len(state.connections) == 1


class TestConnections:
    @pytest.fixture
    def limits(self) -> ConnectionLimits:
        """Return limits for two connections."""
        return replace(LONG, connections=2, keep_alive=timedelta(seconds=1))

    async def test_are_refused_above_the_limit(self, port: int, state: Connections) -> None:
        async with connected(port) as one, connected(port) as other:
            for _, writer in (one, other):
                writer.write(POST)
            await until(lambda: len(state.tasks) == 2)
            response = await read_all(port, GET)
            health = await exchange(port, GET.replace(b"/", b"/health/live", 1))
            for reader, writer in (one, other):
                writer.write(b"a")
                assert await reader.read(12) == b"HTTP/1.1 204"
        assert response.startswith(b"HTTP/1.1 503")
        assert b"connection: close" in response
        assert b"retry-after: 1" in response
        assert json.loads(response.partition(b"\r\n\r\n")[2])["code"] == "server_busy"
        assert health == b"HTTP/1.1 204"

    async def test_above_the_limit_are_logged_together(
        self, port: int, state: Connections, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                _, writer = await stack.enter_async_context(connected(port))
                writer.write(POST)
            await until(lambda: len(state.tasks) == 2)
            state.stop_checks()
            for _ in range(2):
                assert await exchange(port, GET) == b"HTTP/1.1 503"
            state.start_checks()
            await until(lambda: bool(caplog.records))
        line = line_of(caplog, "connections_exhausted")
        assert (line["levelname"], line["newcomers"]) == ("WARNING", 2)
        assert line["connections"] >= 2

    async def test_are_reset_above_twice_the_limit(self, port: int, state: Connections) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(connected(port))
            await until(lambda: len(state.connections) == 4)
            assert await exchange(port, GET) == b""

    async def test_are_closed_when_idle_to_make_room(self, port: int, state: Connections) -> None:
        async with connected(port) as (first, writer), connected(port) as (second, other):
            for reader, each in ((first, writer), (second, other)):
                each.write(GET)
                await reader.readuntil(b"\r\n\r\n")
            await until(lambda: state.evictable == 2)
            assert await exchange(port, GET) == b"HTTP/1.1 204"
            ended = await asyncio.wait(
                [asyncio.create_task(each.read()) for each in (first, second)],
                return_when=asyncio.FIRST_COMPLETED,
            )
            assert [task.result() for task in ended[0]] == [b""]
            for task in ended[1]:
                task.cancel()


class TestObserver:
    async def test_receives_the_number_of_connections_periodically(
        self, port: int, state: Connections, observed: RecordingObserver
    ) -> None:
        assert (observed.open, observed.limit) == (0, LONG.connections)
        assert observed.reasons == {}
        async with connected(port) as (reader, writer):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            await until(lambda: observed.open == 1)
        await until(lambda: observed.open == 0)
        assert observed.reasons == {}

    @short_limits(head=0.1, keep_alive=0.1)
    async def test_counts_silent_clients_and_not_finished_ones(
        self, port: int, state: Connections, observed: RecordingObserver
    ) -> None:
        assert await read_all(port) == b""
        assert (await read_all(port, GET)).startswith(b"HTTP/1.1 204")
        state.stop_checks()
        assert observed.reasons == {"no_request": 1}

    @short_limits(head=0.1, body=0.1)
    @pytest.mark.parametrize(
        ("sent", "reason"),
        [
            (b"GET / HTTP/1.1\r\nHost: h", "head_timeout"),
            (POST, "body_timeout"),
            (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_MAX_BYTES, "head_too_large"),
            (b"nonsense\r\n\r\n", "malformed"),
            (
                b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
                + b"1\r\na\r\n" * (PIECES_MAX + 1),
                "too_many_pieces",
            ),
        ],
    )
    async def test_counts_each_reason(
        self, port: int, state: Connections, observed: RecordingObserver, sent: bytes, reason: str
    ) -> None:
        assert (await read_all(port, sent)).startswith(b"HTTP/1.1 4")
        state.stop_checks()
        assert observed.reasons == {reason: 1}

    @short_limits(reading=0.1)
    async def test_counts_clients_that_do_not_read(
        self, port: int, state: Connections, observed: RecordingObserver
    ) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(GET_LARGE)
            await until(lambda: bool(observed.reasons))
        assert observed.reasons == {"read_timeout": 1}

    @pytest.mark.parametrize("limits", [replace(LONG, connections=1)])
    async def test_counts_refused_connections(
        self, port: int, state: Connections, observed: RecordingObserver
    ) -> None:
        async with connected(port) as (_, writer), connected(port) as (reader, other):
            writer.write(POST)
            other.write(GET.replace(b"/", b"/health/live", 1))
            # Health checks are served, and do not count as refused.
            assert await reader.read(12) == b"HTTP/1.1 204"
            assert await exchange(port, GET) == b""
        await until(lambda: not state.connections)
        async with connected(port) as (_, writer):
            writer.write(POST)
            await until(lambda: len(state.tasks) == 1)
            assert await exchange(port, GET) == b"HTTP/1.1 503"
        state.stop_checks()
        assert observed.reasons == {"not_heard": 1, "server_busy": 1}

    @pytest.mark.parametrize("limits", [replace(LONG, connections=1, keep_alive=SECOND)])
    async def test_counts_evicted_connections(
        self, port: int, state: Connections, observed: RecordingObserver
    ) -> None:
        async with connected(port) as (reader, writer):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            await until(lambda: state.evictable == 1)
            assert await exchange(port, GET) == b"HTTP/1.1 204"
        state.stop_checks()
        assert observed.reasons == {"made_room": 1}


def has_security_fields(head: bytes) -> bool:
    """Return whether a response has each security field once."""
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    return all(names.count(name) == 1 for name, _ in security_headers(https_only=False))


class TestRefusals:
    """A response of the server has an id, and the log line has the same one."""

    @short_limits(head=0.1)
    @pytest.mark.parametrize(
        ("sent", "event", "fields"),
        [
            (b"GET /", "client_timed_out", {"awaited": "head"}),
            (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_MAX_BYTES, "request_head_too_large", {}),
            (b"nonsense\r\n\r\n", "request_malformed", {"reason": "malformed"}),
        ],
    )
    async def test_have_the_id_of_the_log_line(
        self,
        port: int,
        caplog: pytest.LogCaptureFixture,
        sent: bytes,
        event: str,
        fields: dict[str, str],
    ) -> None:
        caplog.set_level(logging.INFO)
        head, _, body = (await read_all(port, sent)).partition(b"\r\n\r\n")
        line = line_of(caplog, event)
        expected = {
            "client_ip": "127.0.0.1",
            "request_id": json.loads(body)["request_id"],
            **fields,
        }
        assert expected.items() <= line.items()
        assert f"x-request-id: {line['request_id']}".encode() in head
        assert has_security_fields(head)

    @short_limits(body=0.1)
    async def test_have_the_id_that_the_application_set(
        self, port: int, state: Connections, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        async with connected(port) as (reader, writer):
            writer.write(POST)
            await until(lambda: bool(state.tasks))
            [connection] = state.connections
            assert isinstance(connection, BoundedHttpProtocol)
            connection.cycle.scope["state"]["request_id"] = "the-one"
            response = await reader.read()
        assert json.loads(response.partition(b"\r\n\r\n")[2])["request_id"] == "the-one"
        assert line_of(caplog, "client_timed_out")["request_id"] == "the-one"

    @pytest.mark.parametrize("limits", [replace(LONG, connections=1)])
    async def test_have_the_id_that_the_client_sent(
        self, port: int, state: Connections, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        async with connected(port) as (_, writer):
            writer.write(POST)
            await until(lambda: len(state.tasks) == 1)
            response = await read_all(port, GET[:-2] + b"X-Request-ID: mine\r\n\r\n")
        assert response.startswith(b"HTTP/1.1 503")
        assert b"x-request-id: mine" in response
        assert has_security_fields(response.partition(b"\r\n\r\n")[0])
        assert line_of(caplog, "service_refused")["request_id"] == "mine"

    @pytest.mark.parametrize("reason", STATUS)
    def test_have_the_same_status_in_every_format(self, reason: DisconnectReason | None) -> None:
        scope: Scope = {"type": "http", "path": "", "headers": [], "state": {}}
        problem = write_refusal(reason, scope, "the-one")
        empty = write_empty_refusal(reason, scope, "the-one")
        assert (problem.status, problem.phrase) == (empty.status, empty.phrase)
        assert problem.request_id == empty.request_id == "the-one"


class TestDefaultRefusals:
    """A server that is given no writer sends a status and no content."""

    @pytest.fixture
    def refuse(self) -> RefusalWriter:
        """Return the default of the server."""
        return write_empty_refusal

    @pytest.fixture
    def app(self) -> ASGIApp:
        """Return an application that fails."""

        async def fail(scope: Scope, receive: Receive, send: Send) -> None:
            raise RuntimeError("a bug")

        return fail

    @pytest.mark.parametrize(
        ("sent", "status"),
        [(b"nonsense\r\n\r\n", b"400 Bad Request"), (GET, b"500 Internal Server Error")],
    )
    async def test_are_empty(self, port: int, sent: bytes, status: bytes) -> None:
        response = await read_all(port, sent)
        assert response.startswith(b"HTTP/1.1 " + status + b"\r\n")
        assert b"content-length: 0\r\n" in response
        assert response.endswith(b"connection: close\r\n\r\n")
