"""HTTP/1.1 on one connection, with limits on what its client may send and how slowly."""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.types import Scope
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.infra.server.connections import Connections
from app.infra.server.disconnect import DisconnectReason
from app.infra.server.limits import (
    HEAD_MAX_BYTES,
    PIECE_MIN_BYTES,
    PIECES_MAX,
    Wait,
)
from app.infra.server.lingering_close import LingeringClose
from app.infra.server.overload import serve_health_only
from app.infra.server.response_cycle import ResponseCycle
from app.infra.server.tcp import reset, unacknowledged_bytes

if TYPE_CHECKING:
    from app.infra.server.config import ServerConfig

logger = logging.getLogger(__name__)

LAST_REQUEST_S = 1.0
LAST_READ_S = 0.02


class TooManyPieces(Exception):
    """A body has so many small pieces that reading it costs too much."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """
    uvicorn's protocol with limits.

    The parser buffers a head, and the trailers of a body, until they are complete; the limit on
    their size bounds that memory. Each piece of a body costs the same whatever its size; the limit
    on small pieces bounds that time. `Connections` calls `check` to find slow clients.

    On shutdown an idle connection stays open for `LAST_REQUEST_S`, because a request may already
    be on its way (RFC 9112, section 9.6). The response to it closes the connection. From then on
    the state of requests contains `draining`.
    """

    config: "ServerConfig"
    server_state: Connections

    waiting_since = 0.0
    _wait: Wait | None = None
    # Changes whenever the client makes progress.
    _wait_marker: object = None
    _parsed = False
    _unparsed_bytes = 0
    _body_pieces = 0
    _body_bytes = 0
    _parser_error = DisconnectReason.MALFORMED
    _draining = False
    _refused = False
    _responding: RequestResponseCycle | None = None
    _resumed_writes = 0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's base type is wider
        super().connection_made(transport)
        self.server_state.admit(self)

    def refuse_service(self) -> None:
        """Answer every request with 503, except health checks."""
        self.app = partial(serve_health_only, self.app, self.server_state, self.config.refuse)

    def close_if_idle(self) -> bool:
        """Close the connection if no request is in progress; return whether it was closed."""
        if self.transport.is_closing() or not self._is_idle():
            return False
        self.transport.close()
        return True

    def check(self, now: float) -> Wait | None:
        """Close the connection if its client is too slow, or return what the server waits for."""
        wait, marker = self._current_wait()
        last = self._wait_marker
        unchanged = marker is last or (wait is Wait.READING and marker == last)
        if wait is not self._wait or not unchanged:
            self._wait, self._wait_marker, self.waiting_since = wait, marker, now
        elif wait is not None and now - self.waiting_since >= self._timeout_s(wait):
            self._time_out(wait)
            return None
        return wait

    def _current_wait(self) -> tuple[Wait | None, object]:
        if unsent := self.transport.get_write_buffer_size():
            # The buffer alone may stay the same while the kernel sends megabytes.
            unacknowledged = unacknowledged_bytes(self.transport)
            return Wait.READING, (self._resumed_writes, unsent, unacknowledged)
        if self._refused or self.transport.is_closing() or self.flow.read_paused:
            return None, None
        if self._is_idle():
            # An incomplete head has a scope and no cycle.
            last: Scope | None = getattr(self.cycle, "scope", None)
            incomplete = self.scope is not last
            return (Wait.HEAD, self.scope) if incomplete else (Wait.REQUEST, self.cycle)
        if self.cycle.more_body and not self.cycle.waiting_for_100_continue:
            return Wait.BODY, self.cycle
        return None, None

    def _timeout_s(self, wait: Wait) -> float:
        # The first request may take as long as a head.
        first = wait is Wait.REQUEST and self._wait_marker is None
        return self.server_state.timeout_s(Wait.HEAD if first else wait)

    def _time_out(self, wait: Wait) -> None:
        if wait is Wait.REQUEST:
            if self._wait_marker is None:
                self.server_state.count(DisconnectReason.NO_REQUEST)
            self.transport.close()
            return
        # The application may have finished a response that is still being read.
        request_id = self._request_id(completed=wait is Wait.READING)
        logger.info("client_timed_out", extra=self._log_fields(request_id, awaited=wait.value))
        if wait is Wait.READING:
            self.server_state.count(DisconnectReason.READ_TIMEOUT)
            reset(self.transport)
        elif wait is Wait.HEAD:
            self._refuse(DisconnectReason.HEAD_TIMEOUT, request_id)
        else:
            self._refuse(DisconnectReason.BODY_TIMEOUT, request_id)

    def _request_id(self, *, completed: bool = False) -> str:
        """Return the id of the request in progress (or `completed` last), or else a new one."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or (cycle.response_complete and not completed):
            return uuid4().hex
        known: str | None = cycle.scope["state"].get("request_id")
        return known or uuid4().hex

    def _log_fields(self, request_id: str, **more: str) -> dict[str, str | None]:
        client_ip = self.client[0] if self.client else None
        return {"request_id": request_id, "client_ip": client_ip, **more}

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        # uvicorn notifies the last request of a pipeline, which may not be the one in progress.
        if self._responding is not None and not self._responding.response_complete:
            self._disconnect(self._responding)
        super().connection_lost(exc)

    def _disconnect(self, cycle: RequestResponseCycle) -> None:
        cycle.disconnected = True
        cycle.message_event.set()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._responding = cycle
        # uvicorn has no setting for the class of its cycles.
        cycle.__class__ = ResponseCycle
        cycle.refuse = self.config.refuse  # type: ignore[attr-defined]  # of the class set above
        super()._start_asgi_task(cycle, app)

    @override
    def on_response_complete(self) -> None:
        # As uvicorn's method, without its keep-alive timer: `check` replaces it.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    @override
    def resume_writing(self) -> None:
        self._resumed_writes += 1
        super().resume_writing()

    @override
    def shutdown(self) -> None:
        self._draining = True
        self.app_state["draining"] = True
        if self._is_idle():
            self.loop.call_later(LAST_REQUEST_S, self._close_after_read)
        else:
            super().shutdown()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # None before the first request

    def _close_after_read(self) -> None:
        # If the loop was blocked, timers run before input: let it read what has arrived.
        self.loop.call_later(LAST_READ_S, self.close_if_idle)

    @override
    def data_received(self, data: bytes) -> None:
        self._parsed = False
        super().data_received(data)
        self._unparsed_bytes = 0 if self._parsed else self._unparsed_bytes + len(data)
        if self._unparsed_bytes > HEAD_MAX_BYTES and not (
            self._refused or self.transport.is_closing()
        ):
            request_id = self._request_id()
            logger.warning("request_head_too_large", extra=self._log_fields(request_id))
            self._refuse(DisconnectReason.HEAD_TOO_LARGE, request_id)

    @override
    def send_400_response(self, msg: str) -> None:
        request_id = self._request_id()
        reason = self._parser_error
        logger.info("request_malformed", extra=self._log_fields(request_id, reason=reason.value))
        self._refuse(reason, request_id)

    def _refuse(self, reason: DisconnectReason, request_id: str) -> None:
        """Respond instead of the application, and close the connection."""
        self.server_state.count(reason)
        current = self._responding
        if current is not None and not current.response_complete:
            if current.response_started or current is not self.cycle:
                # The client would take the refusal for the response to another request.
                self.transport.close()
                return
            self._disconnect(current)
        self._refused = True
        scope: Scope = {"type": "http", "path": "", "headers": [], "state": {}}
        self.transport.write(self.config.refuse(reason, scope, request_id).encode())
        LingeringClose(self)

    @override
    def on_headers_complete(self) -> None:
        self._parsed = True
        self._body_pieces = self._body_bytes = 0
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    @override
    def on_body(self, body: bytes) -> None:
        self._parsed = True
        self._body_pieces += 1
        self._body_bytes += len(body)
        if (
            self._body_pieces > PIECES_MAX
            and self._body_bytes < self._body_pieces * PIECE_MIN_BYTES
        ):
            self._parser_error = DisconnectReason.TOO_MANY_PIECES
            # The parser stops, and uvicorn calls `send_400_response`.
            raise TooManyPieces
        super().on_body(body)
