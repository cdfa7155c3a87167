"""A connection of a client: HTTP/1.1, and bounds on what the slow and the rude can take."""

import asyncio
import logging
import socket
import struct
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.infra.http.middleware.request_id import FIELD, HEADER, choose_request_id
from app.infra.http.problem import (
    HeadTooLarge,
    MalformedRequest,
    RequestError,
    RequestTimeout,
    ServerBusy,
    problem_response,
    status_of,
)
from app.infra.server.disconnect import ConnectionObserver, CutOff, nobody
from app.infra.server.response_cycle import SECURITY, Answer, last_fields

if sys.platform == "linux":
    import fcntl
    import termios

logger = logging.getLogger(__name__)

HEAD_MAX_BYTES = 64 * 1024
LAST_REQUEST_S = 1.0
ONE_ROUND_S = 0.02
PIECES_MAX = 4096
PIECE_MIN_BYTES = 16
LINGER_S = 2.0
LINGER_MAX_BYTES = 1024 * 1024

# Beyond so many times the connections there may be, newcomers are not even heard.
HARD_LIMIT = 2
_HEALTH = "/health/"
_BUSY = {
    **{name.decode(): value.decode() for name, value in SECURITY},
    "Retry-After": "1",
    "Connection": "close",
}
_FAULTS = {
    CutOff.MALFORMED: "This is not HTTP/1.1.",
    CutOff.TOO_MANY_PIECES: "The body comes in too many pieces.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """
    What clients may take from a process.

    A request's head has to arrive within `head`, its body within `body` after that; an answer may
    stand still, unread, for `reading`. A connection without a request is closed after
    `keep_alive`. Above `connections` those without a request make room for newcomers.
    """

    head: timedelta = timedelta(seconds=10)
    body: timedelta = timedelta(seconds=30)
    reading: timedelta = timedelta(seconds=10)
    keep_alive: timedelta = timedelta(seconds=5)
    connections: int = 1000


class Awaited(StrEnum):
    """What a client keeps us waiting for."""

    REQUEST = "request"
    HEAD = "head"
    BODY = "body"
    READING = "reading"


class TooManyPieces(Exception):
    """A body comes in so many pieces that reading it costs more than it is worth."""


class Connections(ServerState):
    """
    The connections of a process, and the look that is taken at all of them now and then.

    A look finds out who waits for what, and ends what has been the same for too long. So a limit
    is kept to within two looks, a second or two, and a request pays nothing for it: no timer is
    set or reset on its behalf. Nor does it pay for being counted: who observes is told of all
    connections together, once a look.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__()
        self.limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._dispensable: list[BoundedHttpProtocol] = []
        self._crowded = 0
        self._observe = nobody()
        self._cut_off: Counter[CutOff] = Counter()
        self._patience_s = {
            Awaited.REQUEST: limits.keep_alive.total_seconds(),
            Awaited.HEAD: limits.head.total_seconds(),
            Awaited.BODY: limits.body.total_seconds(),
            Awaited.READING: limits.reading.total_seconds(),
        }
        self._interval_s = min(1.0, min(self._patience_s.values()) / 4)

    @property
    def dispensable(self) -> int:
        """How many may have to make room for newcomers."""
        return len(self._dispensable)

    def watch(self, observe: ConnectionObserver | None = None) -> None:
        """Begin to look, and to tell what is seen; until `unwatch`, on the running loop."""
        if observe is not None:
            self._observe = observe
        self._tell()
        self._look_later()

    def unwatch(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._tell()

    def patience_s(self, awaited: Awaited) -> float:
        """Return how long is waited for this, in seconds."""
        return self._patience_s[awaited]

    def admit(self, newcomer: "BoundedHttpProtocol") -> None:
        """Make room for a connection, or see to it that it is told that there is none."""
        if len(self.connections) <= self.limits.connections:
            return
        self._crowded += 1
        while self._dispensable:
            if self._dispensable.pop().make_room():
                self.count(CutOff.MADE_ROOM)
                return
        if len(self.connections) > HARD_LIMIT * self.limits.connections:
            self.count(CutOff.NOT_HEARD)
            newcomer.transport.abort()
        else:
            newcomer.refuse_service()

    def count(self, reason: CutOff) -> None:
        """Count a connection that is cut off."""
        self._cut_off[reason] += 1

    def _tell(self) -> None:
        self._observe(
            open_=len(self.connections),
            limit=self.limits.connections,
            cut_off={reason.value: self._cut_off[reason] for reason in CutOff},
        )
        self._cut_off.clear()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._look)

    def _look(self) -> None:
        self._look_later()
        now = asyncio.get_running_loop().time()
        # Copied, for a look may end a connection. All are of our protocol.
        idle = []
        for each in tuple(self.connections):
            assert isinstance(each, BoundedHttpProtocol)  # noqa: S101 - we make no others
            if each.look(now) in {Awaited.REQUEST, Awaited.HEAD}:
                idle.append(each)
        # Whoever has just come may be about to ask: only those who were there at the last look.
        waited = [each for each in idle if each.waiting_since < now]
        self._dispensable = sorted(waited, key=lambda each: -each.waiting_since)
        if self._crowded:
            logger.warning(
                "connections_exhausted",
                extra={"connections": len(self.connections), "newcomers": self._crowded},
            )
            self._crowded = 0
        self._tell()


class BoundedHttpProtocol(HttpToolsProtocol):
    """
    HTTP/1.1 with a bound on what a client may send without it amounting to anything.

    The parser keeps the head of a request, and the trailers after it, until they are complete;
    without a bound, a header that never ends fills the memory. Each piece of a body costs the same
    whatever its size, so there may not be too many small ones. Who is too slow is found by the
    looks of `Connections`.

    On shutdown a connection without a request is kept a moment longer: the next request may be on
    its way, and would fail for nothing (RFC 9112, section 9.6). Its answer says that it is the
    last. From then on `draining` is in the state of requests.
    """

    server_state: Connections

    _progress = False
    _pending = 0
    _pieces = 0
    _body_bytes = 0
    _fault = CutOff.MALFORMED
    _draining = False
    _refused = False
    _answering: RequestResponseCycle | None = None
    _reads = 0
    _awaited: Awaited | None = None
    _awaited_of: object = None
    waiting_since = 0.0

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Connections,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.server_state.admit(self)

    def refuse_service(self) -> None:
        """Answer 503 to everything but questions about the process's health."""
        self.app = partial(_refuse_service, self.app, self.server_state)

    def make_room(self) -> bool:
        """Close if there is no request under way; tell whether that is so."""
        if self.transport.is_closing() or not self._idle():
            return False
        self.transport.close()
        return True

    def look(self, now: float) -> Awaited | None:
        """End the connection if the client is too slow, or return what is awaited from it."""
        awaited, of = self._awaits()
        if awaited is not self._awaited or not (
            of == self._awaited_of if awaited is Awaited.READING else of is self._awaited_of
        ):
            self._awaited, self._awaited_of, self.waiting_since = awaited, of, now
        elif awaited is not None and now - self.waiting_since >= self._patience_s(awaited):
            self._give_up(awaited)
            return None
        return awaited

    def _awaits(self) -> tuple[Awaited | None, object]:
        """Return what is awaited, and what stays the same for as long as it is awaited in vain."""
        if unread := self.transport.get_write_buffer_size():
            return Awaited.READING, (self._reads, unread, self._unacknowledged())
        if self._refused or self.transport.is_closing() or self.flow.read_paused:
            return None, None
        if self._idle():
            # A head that has begun has a scope, but no cycle yet.
            known: Scope | None = getattr(self.cycle, "scope", None)
            begun = self.scope is not known
            return (Awaited.HEAD, self.scope) if begun else (Awaited.REQUEST, self.cycle)
        if self.cycle.more_body and not self.cycle.waiting_for_100_continue:
            return Awaited.BODY, self.cycle
        return None, None

    def _unacknowledged(self) -> int:
        """Return how many bytes the system keeps for a client that has not confirmed them."""
        if sys.platform != "linux":
            return 0
        # We are asked for more only when a good part of what may be megabytes is through.
        peer: socket.socket = self.transport.get_extra_info("socket")
        try:
            count = fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            # Closed in this very moment.
            return 0
        return int.from_bytes(count, sys.byteorder)

    def _patience_s(self, awaited: Awaited) -> float:
        # Somebody who has just connected wants to ask something.
        first = awaited is Awaited.REQUEST and self._awaited_of is None
        return self.server_state.patience_s(Awaited.HEAD if first else awaited)

    def _give_up(self, awaited: Awaited) -> None:
        if awaited is Awaited.REQUEST:
            if self._awaited_of is None:
                self.server_state.count(CutOff.NO_REQUEST)
            self.transport.close()
            return
        # What is not read may have been answered long ago, as far as the application knows.
        request_id = self._request_id(answered=awaited is Awaited.READING)
        logger.info("client_timed_out", extra=self._told(request_id, awaited=awaited.value))
        if awaited is Awaited.READING:
            self.server_state.count(CutOff.READ_TIMEOUT)
            # Reset, for the system would keep what is unread for minutes more.
            peer: socket.socket = self.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            late = CutOff.HEAD_TIMEOUT if awaited is Awaited.HEAD else CutOff.BODY_TIMEOUT
            problem = RequestTimeout(f"The {awaited} of the request did not arrive in time.")
            self._refuse(problem, late, request_id)

    def _request_id(self, *, answered: bool = False) -> str:
        """Return the id of the request under way (or `answered` last); a new one without."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or (cycle.response_complete and not answered):
            return uuid4().hex
        known: str | None = cycle.scope["state"].get("request_id")
        return known or uuid4().hex

    def _told(self, request_id: str, **more: str) -> dict[str, str | None]:
        """Return what a log line tells of a request that the application does not answer."""
        client_ip = self.client[0] if self.client else None
        return {"request_id": request_id, "client_ip": client_ip, **more}

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        # uvicorn tells the last request of a pipeline, which may not be the one that is answered.
        if self._answering is not None and not self._answering.response_complete:
            self._disconnect(self._answering)
        super().connection_lost(exc)

    def _disconnect(self, cycle: RequestResponseCycle) -> None:
        cycle.disconnected = True
        cycle.message_event.set()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        # Which class it makes, uvicorn does not ask.
        cycle.__class__ = Answer
        super()._start_asgi_task(cycle, app)

    @override
    def on_response_complete(self) -> None:
        # All that uvicorn does but for a timer: who asks nothing more is found by the looks.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    @override
    def resume_writing(self) -> None:
        self._reads += 1
        super().resume_writing()

    @override
    def shutdown(self) -> None:
        self._draining = True
        self.app_state["draining"] = True
        if self._idle():
            self.loop.call_later(LAST_REQUEST_S, self._end)
        else:
            super().shutdown()

    def _idle(self) -> bool:
        # Before the first request there is no cycle, whatever its type says.
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]

    def _end(self) -> None:
        # After a moment without the processor timers come first, and a request that has arrived
        # meanwhile has not been read: once around the loop it has.
        self.loop.call_later(ONE_ROUND_S, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._idle():
            self.transport.close()

    @override
    def data_received(self, data: bytes) -> None:
        self._progress = False
        super().data_received(data)
        self._pending = 0 if self._progress else self._pending + len(data)
        if self._pending > HEAD_MAX_BYTES and not (self._refused or self.transport.is_closing()):
            request_id = self._request_id()
            logger.warning("request_head_too_large", extra=self._told(request_id))
            problem = HeadTooLarge(f"A head has at most {HEAD_MAX_BYTES} bytes.")
            self._refuse(problem, CutOff.HEAD_TOO_LARGE, request_id)

    @override
    def send_400_response(self, msg: str) -> None:
        # What the parser cannot read never gets to the application; it is answered as there.
        request_id = self._request_id()
        logger.info("request_malformed", extra=self._told(request_id, reason=self._fault.value))
        self._refuse(MalformedRequest(_FAULTS[self._fault]), self._fault, request_id)

    def _refuse(self, problem: RequestError, reason: CutOff, request_id: str) -> None:
        """Answer instead of the application, and let go of the connection."""
        self.server_state.count(reason)
        if self._answering is not None and not self._answering.response_complete:
            if self._answering.response_started or self._answering is not self.cycle:
                # It would be taken for an answer to something else.
                self.transport.close()
                return
            self._disconnect(self._answering)
        self._refused = True
        status = status_of(type(problem))
        request: Scope = {"type": "http", "path": "", "state": {"request_id": request_id}}
        answer = problem_response(request, problem)
        head = b"".join(b"%b: %b\r\n" % field for field in last_fields(answer, request_id))
        line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
        self.transport.write(b"%b%b\r\n%b" % (line, head, bytes(answer.body)))
        _Farewell(self)

    @override
    def on_headers_complete(self) -> None:
        self._progress = True
        self._pieces = self._body_bytes = 0
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    @override
    def on_body(self, body: bytes) -> None:
        self._progress = True
        self._pieces += 1
        self._body_bytes += len(body)
        if self._pieces > PIECES_MAX and self._body_bytes < self._pieces * PIECE_MIN_BYTES:
            self._fault = CutOff.TOO_MANY_PIECES
            # To the parser, which reads no further and has it answered.
            raise TooManyPieces
        super().on_body(body)


class _Farewell(asyncio.Protocol):
    """
    Reads on for a moment after the last answer, without looking.

    A connection that is closed with something unread in it is reset, and the answer may be lost
    with it (RFC 9112, section 9.6).
    """

    def __init__(self, connection: BoundedHttpProtocol) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._left = LINGER_MAX_BYTES
        self._end = connection.loop.call_later(LINGER_S, self._transport.abort)
        connection.flow.resume_reading()
        self._transport.set_protocol(self)
        self._transport.write_eof()

    @override
    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        self._connection.connection_lost(exc)


async def _refuse_service(
    app: ASGIApp, connections: Connections, scope: Scope, receive: Receive, send: Send
) -> None:
    # Whoever watches over the process has to learn that it lives, above all now.
    if not scope["path"].startswith(_HEALTH):
        sent = [value for name, value in scope["headers"] if name == FIELD]
        scope["state"]["request_id"] = request_id = choose_request_id(sent)
        connections.count(CutOff.SERVER_BUSY)
        client_ip = scope["client"][0] if scope["client"] else None
        logger.info("service_refused", extra={"request_id": request_id, "client_ip": client_ip})
        busy = ServerBusy(
            "There are too many connections. Try again.",
            headers={**_BUSY, HEADER: request_id},
        )
        app = problem_response(scope, busy)
    await app(scope, receive, send)
