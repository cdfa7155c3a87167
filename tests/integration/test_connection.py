"""What clients may take from a process, told by what it answers them on real sockets."""

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
from app.infra.server.connection import (
    HEAD_MAX_BYTES,
    PIECES_MAX,
    BoundedHttpProtocol,
    ConnectionLimits,
    Connections,
)
from app.infra.server.disconnect import CutOff
from app.infra.server.response_cycle import Answer
from app.infra.server.server import ServerConfig
from tests.raw_connection import connected

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\n\r\n"
GET_LARGE = GET.replace(b"/", b"/large", 1)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
ENDLESS = ConnectionLimits(head=MINUTE, body=MINUTE, reading=MINUTE, keep_alive=MINUTE)
LARGE = 32 * 1024 * 1024


async def accept(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer any request once its body is there; `/large` with more than the system takes."""
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


class Observed:
    """What is told of the connections of a process: the last of it, and the sum of it."""

    def __init__(self) -> None:
        self.open = self.limit = -1
        self.cut_off: Counter[str] = Counter()

    def __call__(self, *, open_: int, limit: int, cut_off: Mapping[str, int]) -> None:
        """Take note."""
        assert set(cut_off) == {reason.value for reason in CutOff}
        self.open, self.limit = open_, limit
        self.cut_off.update(cut_off)

    @property
    def reasons(self) -> dict[str, int]:
        """Why anybody was cut off, and how often."""
        return dict(+self.cut_off)


@pytest.fixture
def observed() -> Observed:
    """Return who is told of the connections."""
    return Observed()


@pytest.fixture
def limits() -> ConnectionLimits:
    """Return limits that no test comes near, unless it is about them."""
    return ENDLESS


@pytest.fixture
def state(limits: ConnectionLimits) -> Connections:
    """Return the connections of our protocol."""
    return Connections(limits)


@pytest.fixture
def app() -> ASGIApp:
    """Return what answers."""
    return accept


@pytest_asyncio.fixture
async def port(state: Connections, observed: Observed, app: ASGIApp) -> AsyncGenerator[int]:
    """Return where our protocol is spoken."""
    config = ServerConfig(app, limits=state.limits, lifespan="off", access_log=False)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: BoundedHttpProtocol(config=config, server_state=state, app_state={}),
        "127.0.0.1",
        0,
    )
    state.watch(observed)
    yield server.sockets[0].getsockname()[1]
    state.unwatch()
    for connection in list(state.connections):
        connection.transport.abort()
    server.close()
    await server.wait_closed()


async def exchange(port: int, *parts: bytes) -> bytes:
    """Return how the server's answer to this begins, if there is one."""
    async with connected(port) as (reader, writer):
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await reader.read(12)
        except ConnectionError:
            return b""


async def listen(port: int, *parts: bytes) -> bytes:
    """Say this and nothing more, and return all that is answered until the server hangs up."""
    async with connected(port) as (reader, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the server does on this loop."""
    while not condition():  # noqa: ASYNC110 - the server sets no events for tests
        await asyncio.sleep(0.001)


def line_of(caplog: pytest.LogCaptureFixture, event: str) -> dict[str, Any]:
    """Return the one line about an event."""
    [record] = [record for record in caplog.records if record.getMessage() == event]
    return vars(record)


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
        answer = await listen(port, request_)
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
        assert await exchange(port, start, *[b"a" * 65536] * 8) == b"HTTP/1.1 431"

    async def test_cuts_off_trailers_without_an_end(self, port: int) -> None:
        start = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        assert (
            await exchange(port, start, *[b"X-More: trailers\r\n" * 4096] * 8) == b"HTTP/1.1 431"
        )

    async def test_cuts_off_a_body_in_too_many_pieces(self, port: int) -> None:
        start = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await listen(port, start, b"1\r\na\r\n" * (PIECES_MAX + 1))
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"too many pieces" in answer

    async def test_takes_a_body_in_many_pieces(self, port: int) -> None:
        start = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
        pieces = b"10\r\n0123456789abcdef\r\n" * (2 * PIECES_MAX)
        assert await exchange(port, start, pieces, b"0\r\n\r\n") == b"HTTP/1.1 204"

    async def test_answers_a_request_that_was_on_its_way_when_the_server_stopped(
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


class TestAnswers:
    """Head and body of which are one packet."""

    @pytest.fixture
    def headed(self) -> asyncio.Event:
        """Return what is set when the application has sent a head."""
        return asyncio.Event()

    @pytest.fixture
    def go_on(self) -> asyncio.Event:
        """Return what the application waits for before it sends the rest."""
        return asyncio.Event()

    @pytest.fixture
    def app(self, headed: asyncio.Event, go_on: asyncio.Event) -> ASGIApp:
        """Return what answers with the status that is asked for."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            status = int(scope["path"].strip("/"))
            length = [(b"content-length", b"4")] if status == 200 else []
            await send({"type": "http.response.start", "status": status, "headers": length})
            headed.set()
            await go_on.wait()
            body = b"body" if status == 200 else b""
            await send({"type": "http.response.body", "body": body})

        return answer

    async def test_begin_when_there_is_something_of_the_body(
        self, port: int, headed: asyncio.Event, go_on: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, GET.replace(b"/", b"/200", 1))
            await headed.wait()
            with pytest.raises(BlockingIOError):
                client.recv(1)
            go_on.set()
            heard = await loop.sock_recv(client, 65536)
        assert heard.startswith(b"HTTP/1.1 200")
        assert heard.endswith(b"\r\n\r\nbody")

    @pytest.mark.parametrize(
        ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 404)]
    )
    @pytest.mark.parametrize("last", [True, False])
    async def test_may_have_no_body(
        self, port: int, go_on: asyncio.Event, method: str, status: int, last: bool
    ) -> None:
        go_on.set()
        request = GET.replace(b"GET /", f"{method} /{status}".encode(), 1)
        if last:
            closing = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            assert (await listen(port, closing)).count(f"HTTP/1.1 {status}".encode()) == 1
        else:
            async with connected(port) as (reader, writer):
                writer.write(request * 2)
                for _ in range(2):
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(f"HTTP/1.1 {status}".encode())
                    if b"chunked" in head:
                        assert await reader.readexactly(5) == b"0\r\n\r\n"

    async def test_leave_nothing_for_the_garbage_collector(
        self, port: int, go_on: asyncio.Event
    ) -> None:
        go_on.set()
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
                left = [each for each in gc.get_objects() if type(each) is Answer]
            finally:
                gc.enable()
        assert len(left) <= 2


START: Message = {"type": "http.response.start", "status": 200, "headers": []}
FOUR: Message = {**START, "headers": [(b"content-length", b"4")]}
CONFUSING: Message = {**START, "headers": [(b"x-name", b"a\r\nset-cookie: b")]}
REST: Message = {"type": "http.response.body", "body": b"rest"}
PIECE: Message = {**REST, "more_body": True}


class TestWhatApplicationsSay:
    """Whether it is an answer, and what is told instead where it is none."""

    @pytest.fixture
    def said(self) -> list[Message]:
        """Return what the application says; then it fails."""
        return []

    @pytest.fixture
    def app(self, said: list[Message]) -> ASGIApp:
        """Return who says so."""

        async def say(scope: Scope, receive: Receive, send: Send) -> None:
            for message in said:
                await send(message)
            raise RuntimeError("a bug")

        return say

    @pytest.mark.parametrize(
        ("said", "end"),
        [
            ([FOUR, REST], b"\r\n\r\nrest"),
            ([FOUR, {**REST, "body": b"re", "more_body": True}, {**REST, "body": b"st"}], b"rest"),
            ([START, REST], b"\r\n\r\n4\r\nrest\r\n0\r\n\r\n"),
            ([START, PIECE, {**REST, "body": b""}], b"\r\n\r\n4\r\nrest\r\n0\r\n\r\n"),
            ([START, {**REST, "body": b""}], b"\r\n\r\n0\r\n\r\n"),
        ],
    )
    async def test_is_framed(self, port: int, end: bytes) -> None:
        answer = await listen(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.count(b"connection: close\r\n") == 1
        assert answer.endswith(end)

    @pytest.mark.parametrize(
        "said",
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
    async def test_is_a_problem_if_nothing_of_it_was_sent(self, port: int) -> None:
        head, _, body = (await listen(port, GET)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert b"content-type: application/problem+json\r\n" in head
        assert b"x-content-type-options: nosniff\r\n" in head
        assert b"set-cookie" not in head
        assert head.count(b"connection: close") == 1
        problem = json.loads(body)
        assert (problem["code"], problem["status"]) == ("internal_error", 500)
        assert f"x-request-id: {problem['request_id']}".encode() in head

    @pytest.mark.parametrize("said", [[START, PIECE], [FOUR, {**PIECE, "body": b"re"}]])
    async def test_is_cut_off_if_something_was(self, port: int, said: list[Message]) -> None:
        answer = await listen(port, GET)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert not answer.endswith((b"0\r\n\r\n", b"rest"))


def hurried(**limits: float) -> pytest.MarkDecorator:
    """Let a test wait for a limit: these are in seconds, the others as without."""
    given: dict[str, Any] = {name: timedelta(seconds=limit) for name, limit in limits.items()}
    return pytest.mark.parametrize("limits", [replace(ENDLESS, **given)])


class TestPatience:
    @hurried(head=0.1)
    @pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\nHost: here\r\nX-Slow: a"])
    async def test_ends_with_a_head_that_does_not_arrive(self, port: int, begun: bytes) -> None:
        answer = await listen(port, begun)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"content-type: application/problem+json\r\n" in head
        assert b"connection: close" in head
        assert json.loads(body)["code"] == "request_timeout"

    @hurried(head=0.1)
    async def test_is_new_for_each_head(self, port: int) -> None:
        answer = await listen(port, GET + GET[:-2])
        assert answer.startswith(b"HTTP/1.1 204")
        assert b"HTTP/1.1 408" in answer

    @hurried(head=0.1)
    @pytest.mark.parametrize("nothing", [b"", b"\r\n"])
    async def test_ends_without_a_word_where_nothing_was_said(
        self, port: int, nothing: bytes
    ) -> None:
        assert await listen(port, nothing) == b""

    @hurried(body=0.1)
    @pytest.mark.parametrize(
        "rest", [b"Content-Length: 4\r\n\r\na", b"Transfer-Encoding: chunked\r\n\r\n1\r\na"]
    )
    async def test_ends_with_a_body_that_does_not_arrive(self, port: int, rest: bytes) -> None:
        answer = await listen(port, b"POST / HTTP/1.1\r\nHost: here\r\n" + rest)
        assert answer.startswith(b"HTTP/1.1 408")

    @hurried(keep_alive=0.1)
    @pytest.mark.parametrize("nothing", [b"", b"\r\n"])
    async def test_ends_with_a_connection_without_a_request(
        self, port: int, nothing: bytes
    ) -> None:
        answer = await listen(port, GET + nothing)
        assert answer.startswith(b"HTTP/1.1 204")
        assert answer.count(b"HTTP/1.1") == 1

    @hurried(reading=0.1)
    async def test_ends_with_an_answer_that_is_not_read(
        self, port: int, state: Connections
    ) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(GET_LARGE)
            await until(lambda: state.total_requests == 1)
            await until(lambda: not state.connections)
            with pytest.raises(ConnectionResetError), client.makefile("rb") as answer:
                answer.read()

    @hurried(reading=0.5)
    async def test_lasts_while_an_answer_is_read(self, port: int, state: Connections) -> None:
        with socket.socket() as client:
            # So that the server's system holds what is on its way, and is told of each piece.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.connect(("127.0.0.1", port))
            client.sendall(GET_LARGE)
            await until(lambda: state.total_requests == 1)
            for _ in range(150):
                # So slowly that the server is not asked for more between many looks.
                assert client.recv(4096)
                await asyncio.sleep(0.01)
            assert len(state.connections) == 1


class TestConnections:
    @pytest.fixture
    def limits(self) -> ConnectionLimits:
        """Return limits that allow for two connections."""
        return replace(ENDLESS, connections=2, keep_alive=timedelta(seconds=1))

    async def test_are_told_when_there_are_too_many(self, port: int, state: Connections) -> None:
        async with connected(port) as one, connected(port) as other:
            for _, writer in (one, other):
                writer.write(POST)
            await until(lambda: len(state.tasks) == 2)
            answer = await listen(port, GET)
            health = await exchange(port, GET.replace(b"/", b"/health/live", 1))
            for reader, writer in (one, other):
                writer.write(b"a")
                assert await reader.read(12) == b"HTTP/1.1 204"
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"connection: close" in answer
        assert b"retry-after: 1" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "server_busy"
        assert health == b"HTTP/1.1 204"

    async def test_are_not_even_heard_beyond_twice_as_many(
        self, port: int, state: Connections
    ) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(connected(port))
            await until(lambda: len(state.connections) == 4)
            assert await exchange(port, GET) == b""

    async def test_make_room_when_they_are_idle(self, port: int, state: Connections) -> None:
        async with connected(port) as (first, writer), connected(port) as (second, other):
            for reader, each in ((first, writer), (second, other)):
                each.write(GET)
                await reader.readuntil(b"\r\n\r\n")
            await until(lambda: state.dispensable == 2)
            assert await exchange(port, GET) == b"HTTP/1.1 204"
            ended = await asyncio.wait(
                [asyncio.create_task(each.read()) for each in (first, second)],
                return_when=asyncio.FIRST_COMPLETED,
            )
            assert [task.result() for task in ended[0]] == [b""]
            for task in ended[1]:
                task.cancel()


class TestObserver:
    async def test_is_told_at_once_and_again_and_again(
        self, port: int, state: Connections, observed: Observed
    ) -> None:
        assert (observed.open, observed.limit) == (0, ENDLESS.connections)
        assert observed.reasons == {}
        async with connected(port) as (reader, writer):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            await until(lambda: observed.open == 1)
        await until(lambda: observed.open == 0)
        assert observed.reasons == {}

    @hurried(head=0.1, keep_alive=0.1)
    async def test_hears_of_who_says_nothing_and_not_of_who_is_done(
        self, port: int, state: Connections, observed: Observed
    ) -> None:
        assert await listen(port) == b""
        assert (await listen(port, GET)).startswith(b"HTTP/1.1 204")
        state.unwatch()
        assert observed.reasons == {"no_request": 1}

    @hurried(head=0.1, body=0.1)
    @pytest.mark.parametrize(
        ("said", "reason"),
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
    async def test_hears_why_somebody_was_cut_off(
        self, port: int, state: Connections, observed: Observed, said: bytes, reason: str
    ) -> None:
        assert (await listen(port, said)).startswith(b"HTTP/1.1 4")
        state.unwatch()
        assert observed.reasons == {reason: 1}

    @hurried(reading=0.1)
    async def test_hears_of_who_does_not_read(
        self, port: int, state: Connections, observed: Observed
    ) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(GET_LARGE)
            await until(lambda: bool(observed.reasons))
        assert observed.reasons == {"read_timeout": 1}

    @pytest.mark.parametrize("limits", [replace(ENDLESS, connections=1)])
    async def test_hears_of_newcomers_for_whom_there_is_no_room(
        self, port: int, state: Connections, observed: Observed
    ) -> None:
        async with connected(port) as (_, writer), connected(port) as (reader, other):
            writer.write(POST)
            other.write(GET.replace(b"/", b"/health/live", 1))
            # Who asks whether the process lives is no client that was refused.
            assert await reader.read(12) == b"HTTP/1.1 204"
            assert await exchange(port, GET) == b""
        await until(lambda: not state.connections)
        async with connected(port) as (_, writer):
            writer.write(POST)
            await until(lambda: len(state.tasks) == 1)
            assert await exchange(port, GET) == b"HTTP/1.1 503"
        state.unwatch()
        assert observed.reasons == {"not_heard": 1, "server_busy": 1}

    @pytest.mark.parametrize("limits", [replace(ENDLESS, connections=1, keep_alive=SECOND)])
    async def test_hears_of_who_made_room(
        self, port: int, state: Connections, observed: Observed
    ) -> None:
        async with connected(port) as (reader, writer):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            await until(lambda: state.dispensable == 1)
            assert await exchange(port, GET) == b"HTTP/1.1 204"
        state.unwatch()
        assert observed.reasons == {"made_room": 1}


def secured(head: bytes) -> bool:
    """Whether an answer has the headers that every answer has, each once."""
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    return all(names.count(name) == 1 for name, _ in security_headers(https_only=False))


class TestRefusals:
    """What the application never hears of is found in the log by the id in the answer."""

    @hurried(head=0.1)
    @pytest.mark.parametrize(
        ("said", "event", "told"),
        [
            (b"GET /", "client_timed_out", {"awaited": "head"}),
            (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_MAX_BYTES, "request_head_too_large", {}),
            (b"nonsense\r\n\r\n", "request_malformed", {"reason": "malformed"}),
        ],
    )
    async def test_name_the_request_in_answer_and_log(
        self,
        port: int,
        caplog: pytest.LogCaptureFixture,
        said: bytes,
        event: str,
        told: dict[str, str],
    ) -> None:
        caplog.set_level(logging.INFO)
        head, _, body = (await listen(port, said)).partition(b"\r\n\r\n")
        line = line_of(caplog, event)
        expected = {"client_ip": "127.0.0.1", "request_id": json.loads(body)["request_id"], **told}
        assert expected.items() <= line.items()
        assert f"x-request-id: {line['request_id']}".encode() in head
        assert secured(head)

    @hurried(body=0.1)
    async def test_name_a_request_as_the_application_did(
        self, port: int, state: Connections, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        async with connected(port) as (reader, writer):
            writer.write(POST)
            await until(lambda: bool(state.tasks))
            [connection] = state.connections
            assert isinstance(connection, BoundedHttpProtocol)
            connection.cycle.scope["state"]["request_id"] = "the-one"
            answer = await reader.read()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"] == "the-one"
        assert line_of(caplog, "client_timed_out")["request_id"] == "the-one"

    @pytest.mark.parametrize("limits", [replace(ENDLESS, connections=1)])
    async def test_take_over_the_id_that_a_newcomer_gives(
        self, port: int, state: Connections, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        async with connected(port) as (_, writer):
            writer.write(POST)
            await until(lambda: len(state.tasks) == 1)
            answer = await listen(port, GET[:-2] + b"X-Request-ID: mine\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"x-request-id: mine" in answer
        assert secured(answer.partition(b"\r\n\r\n")[0])
        assert line_of(caplog, "service_refused")["request_id"] == "mine"
