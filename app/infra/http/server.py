"""Running the application under uvicorn: one process, several, or one that reloads."""

import asyncio
import logging
import math
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from types import FrameType
from uuid import uuid4

import uvicorn
from starlette.types import Scope
from typing_extensions import override
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import ChangeReload, Multiprocess

from app.infra.http.problem import MalformedRequest, problem_response

logger = logging.getLogger(__name__)

BACKLOG = 2048
HEAD_MAX_BYTES = 64 * 1024
LAST_REQUEST_S = 1.0
HANGS_S, STARTS_S = 5, 60
ONE_ROUND_S = 0.02


class ServeError(Exception):
    """The service cannot be started; the text says why in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """
    How to serve.

    `factory` is where the application is made, as `module:function`, because each process makes
    its own. After SIGTERM requests under way have `grace` to finish.
    """

    factory: str
    host: str
    port: int
    workers: int
    grace: timedelta
    reload_dir: str | None = None


class BoundedHttpProtocol(HttpToolsProtocol):
    """
    HTTP/1.1 with a bound on what a client may send without it amounting to anything.

    The parser keeps the head of a request, and the trailers after it, until they are complete;
    without a bound, a header that never ends fills the memory.

    On shutdown a connection without a request is kept a moment longer: the next request may be on
    its way, and would fail for nothing (RFC 9112, section 9.6). Its answer says that it is the
    last. From then on `draining` is in the state of requests.
    """

    _progress = False
    _pending = 0
    _draining = False

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
        if self._pending > HEAD_MAX_BYTES and not self.transport.is_closing():
            logger.warning("request_head_too_large")
            self.transport.close()

    @override
    def send_400_response(self, msg: str) -> None:
        # What the parser cannot read never gets to the application; it is answered as there.
        request: Scope = {"type": "http", "path": "", "state": {"request_id": uuid4().hex}}
        answer = problem_response(request, MalformedRequest("This is not HTTP/1.1."))
        headers = [*answer.raw_headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (head, bytes(answer.body)))
        self.transport.close()

    @override
    def on_headers_complete(self) -> None:
        self._progress = True
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    @override
    def on_body(self, body: bytes) -> None:
        self._progress = True
        super().on_body(body)


class GracefulServer(uvicorn.Server):
    """
    Serves everybody who had connected before it stopped listening.

    Whoever waits to be accepted when a socket is closed would be reset, and may have sent a
    request already.
    """

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A duplicate goes on listening while the loop lets go of the original.
        listeners = [each.dup() for each in sockets or ()]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in [each for listener in listeners for each in _waiting(listener)]:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> BoundedHttpProtocol:
        return BoundedHttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _waiting(listener: socket.socket) -> list[socket.socket]:
    """Accept whoever waits, and listen no more."""
    connections = []
    with listener:
        listener.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                connections.append(connection)
    return connections


class _WorkerConfig(uvicorn.Config):
    """
    The configuration of one process of several, loaded in that process.

    It ends with the one that started it: whoever was left behind by `kill -9` would hold the port
    against the server that is started again, and nobody would replace it.
    """

    @override
    def load(self) -> None:
        super().load()
        if (parent := parent_process()) is not None:
            threading.Thread(target=_end_after, args=[parent], daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    logger.warning("server_parent_lost")
    # As if it had been asked to: what is under way is finished.
    os.kill(os.getpid(), signal.SIGTERM)


class _Supervisor(Multiprocess):
    """
    Keeps the processes of a server running.

    One that has answered before and is silent for `HANGS_S` is killed and replaced. One that is
    starting cannot answer yet, and with little of a processor that takes long: killed as soon, it
    would never be up.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._up: set[int | None] = set()

    @override
    def keep_subprocess_alive(self) -> None:
        asked = {process.pid for process in self.processes}
        self.config.timeout_worker_healthcheck = HANGS_S if asked <= self._up else STARTS_S
        super().keep_subprocess_alive()
        # Who did not answer has been replaced.
        self._up = asked & {process.pid for process in self.processes}

    @override
    def terminate_all(self) -> None:
        # Whoever connects from now on is refused, not left in a queue that nobody serves.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def serve_api(options: ServeOptions) -> None:
    """
    Serve until SIGTERM or SIGINT, then finish what is under way.

    :raises ServeError: if the address cannot be had, or the application does not start
    """
    config = (_WorkerConfig if options.workers > 1 else uvicorn.Config)(
        options.factory,
        factory=True,
        host=options.host,
        port=options.port,
        workers=options.workers,
        reload=options.reload_dir is not None,
        reload_dirs=[options.reload_dir] if options.reload_dir else None,
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        # The middleware logs requests, and believes proxies that are configured.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=math.ceil(options.grace.total_seconds()),
    )
    # uvicorn repeats the signal that stopped it once it has put these back: the exit status of a
    # service that was asked to stop is 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    with _bound(options.host, options.port) as listener:
        logger.info("serving", extra={"host": options.host, "port": options.port})
        if config.should_reload:
            ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listener]).run()
        elif options.workers > 1:
            supervisor = _Supervisor(config, sockets=[listener])
            supervisor.run()
            if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
                raise ServeError("The application did not start; the log says why")
        else:
            _serve_alone(config, listener)


def _serve_alone(config: uvicorn.Config, listener: socket.socket) -> None:
    server = GracefulServer(config)
    try:
        server.run(sockets=[listener])
    except SystemExit as stop:
        if stop.code == STARTUP_FAILURE:
            raise ServeError("The application did not start; the log says why") from stop
        raise


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServeError(f"Cannot listen on {host}: {error.strerror}") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ServeError(f"Cannot listen on {host}, port {port}: {error.strerror}") from error
    listener.set_inheritable(True)
    return listener


def _exit(_signum: int, _frame: FrameType | None) -> None:
    sys.exit(0)
