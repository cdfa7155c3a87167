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
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import ChangeReload, multiprocess

from app.infra.server.connection import (
    HARD_LIMIT,
    BoundedHttpProtocol,
    ConnectionLimits,
    Connections,
)
from app.infra.server.disconnect import ConnectionObserverFactory, nobody

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)

BACKLOG = 2048
HANGS_S, STARTS_S = 5, 60
TICK_S = 0.1
# What a process opens besides connections to clients: databases, the catalog, files, pipes.
OTHER_FILES = 1000


class ServeError(Exception):
    """The service cannot be started; the text says why in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """
    How to serve.

    `factory` is where the application is made, as `module:function`, because each process makes
    its own. After SIGTERM everybody is served as before for `drain`, except that the service is
    not ready any more; then nobody is let in, and requests under way have `grace` to finish.
    `observer` makes, in each process, who hears of its connections.
    """

    factory: str
    host: str
    port: int
    workers: int
    grace: timedelta
    drain: timedelta = timedelta(0)
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    observer: ConnectionObserverFactory = nobody
    reload_dir: str | None = None


class ServerConfig(uvicorn.Config):
    """
    What uvicorn wants to know, and what it does not.

    A process that was started by another and has loaded this ends with it: whoever was left behind
    by `kill -9` would hold the port against the server that is started again, and nobody would
    replace it.
    """

    def __init__(
        self,
        app: str | ASGIApp,
        *,
        limits: ConnectionLimits,
        drain: timedelta = timedelta(0),
        observer: ConnectionObserverFactory = nobody,
        **others: Any,
    ) -> None:
        super().__init__(
            app,
            http=BoundedHttpProtocol,
            # Logging is set up by those who start a process, for all there is in it.
            log_config=None,
            timeout_keep_alive=math.ceil(limits.keep_alive.total_seconds()),
            **others,
        )
        self.limits = limits
        self.drain = drain
        self.observer = observer

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


class GracefulServer(uvicorn.Server):
    """
    Serves everybody who had connected before it stopped listening, and waits for nobody forever.

    Whoever waits to be accepted when a socket is closed would be reset, and may have sent a
    request already.
    """

    config: ServerConfig
    server_state: Connections

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config)
        self.server_state = Connections(config.limits)

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.should_exit:
            # Asked to stop while the application was loaded: there is nothing to stop yet.
            return
        # Whoever is started from here on would hold the port, and listen when we do no more.
        for listener in sockets or ():
            listener.set_inheritable(False)
        await super().startup(sockets)
        self.server_state.watch(self.config.observer())

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._drain()
        # A duplicate goes on listening while the loop lets go of the original.
        listeners = [each.dup() for each in sockets or ()]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in [each for listener in listeners for each in _waiting(listener)]:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)
        self.server_state.unwatch()

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if hasattr(self, "lifespan"):
            # At once: the loop looks for the wish to stop a few times a second only. While it
            # starts as well: whoever begins to listen now is not ready.
            self.lifespan.state["draining"] = True
        super().handle_exit(sig, frame)

    async def _drain(self) -> None:
        """Serve on until whoever sends requests here has had the time to see that we stop."""
        clock = asyncio.get_running_loop().time
        end = clock() + self.config.drain.total_seconds()
        ticks = 0
        while clock() < end and not self.force_exit:
            await asyncio.sleep(TICK_S)
            # It keeps the header Date right.
            ticks += 1
            await self.on_tick(ticks)

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


class _Process(multiprocess.Process):
    """One of several processes that serve; all of them accept from the same socket."""

    config: ServerConfig

    @property
    @override
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = GracefulServer(self.config)
        return self._server


class _Supervisor(multiprocess.Multiprocess):
    """
    Keeps the processes of a server running.

    One that has answered before and is silent for `HANGS_S` is killed and replaced. One that is
    starting cannot answer yet, and with little of a processor that takes long: killed as soon, it
    would never be up.
    """

    def __init__(self, config: ServerConfig, sockets: list[socket.socket]) -> None:
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
    config = ServerConfig(
        options.factory,
        limits=options.limits,
        drain=options.drain,
        observer=options.observer,
        factory=True,
        host=options.host,
        port=options.port,
        workers=options.workers,
        reload=options.reload_dir is not None,
        reload_dirs=[options.reload_dir] if options.reload_dir else None,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        # The middleware logs requests, and believes proxies that are configured.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(options.grace.total_seconds()),
    )
    # uvicorn repeats the signal that stopped it once it has put these back: the exit status of a
    # service that was asked to stop is 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    _allow_files(options.limits.connections * HARD_LIMIT + OTHER_FILES)
    with _bound(options.host, options.port) as listener:
        logger.info("serving", extra={"host": options.host, "port": options.port})
        if config.should_reload:
            ChangeReload(config, target=GracefulServer(config).run, sockets=[listener]).run()
        elif options.workers > 1:
            # By this name uvicorn makes each of its processes, those that replace others too.
            multiprocess.Process = _Process  # type: ignore[misc]
            supervisor = _Supervisor(config, sockets=[listener])
            supervisor.run()
            if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
                raise ServeError("The application did not start; the log says why")
        else:
            _serve_alone(config, listener)


def _serve_alone(config: ServerConfig, listener: socket.socket) -> None:
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


def _allow_files(wanted: int) -> None:
    """Raise the limit of open files as far as need be, and may be."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _exit(_signum: int, _frame: FrameType | None) -> None:
    sys.exit(0)
