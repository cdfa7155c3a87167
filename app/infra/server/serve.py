"""Running an application: in one process, in several, or in one that reloads."""

import logging
import math
import signal
import socket
import sys
from types import FrameType

from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import ChangeReload

from app.infra.server.config import ServeOptions, ServerConfig
from app.infra.server.graceful_server import GracefulServer
from app.infra.server.limits import HARD_LIMIT_FACTOR
from app.infra.server.supervisor import create_supervisor

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)

BACKLOG = 2048
# Open files besides client connections: databases, the catalog, files, pipes.
OTHER_FILES = 1000
_STARTUP_FAILED = "The application did not start; the log says why"


class ServeError(Exception):
    """The service cannot be started; the text says why in one sentence."""


def serve_api(options: ServeOptions) -> None:
    """
    Serve until SIGTERM or SIGINT, then finish the requests in progress.

    :raises ServeError: if the address is not available, or the application does not start
    """
    config = _server_config(options)
    # uvicorn raises the signal again after it has restored these handlers. The exit status of a
    # service that was asked to stop is 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    _raise_file_limit(options.limits.connections * HARD_LIMIT_FACTOR + OTHER_FILES)
    with _bind(options.host, options.port) as listener:
        logger.info("serving", extra={"host": options.host, "port": options.port})
        if config.should_reload:
            ChangeReload(config, target=GracefulServer(config).run, sockets=[listener]).run()
        elif options.workers > 1:
            supervisor = create_supervisor(config, listener)
            supervisor.run()
            if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
                raise ServeError(_STARTUP_FAILED)
        else:
            _serve_in_this_process(config, listener)


def _server_config(options: ServeOptions) -> ServerConfig:
    return ServerConfig(
        options.factory,
        limits=options.limits,
        drain=options.drain,
        observer=options.observer,
        refuse=options.refuse,
        factory=True,
        host=options.host,
        port=options.port,
        workers=options.workers,
        reload=options.reload_dir is not None,
        reload_dirs=[options.reload_dir] if options.reload_dir else None,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        # The application logs requests, and reads proxy headers from trusted proxies.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(options.grace.total_seconds()),
    )


def _serve_in_this_process(config: ServerConfig, listener: socket.socket) -> None:
    try:
        GracefulServer(config).run(sockets=[listener])
    except SystemExit as stop:
        if stop.code == STARTUP_FAILURE:
            raise ServeError(_STARTUP_FAILED) from stop
        raise


def _bind(host: str, port: int) -> socket.socket:
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


def _raise_file_limit(wanted: int) -> None:
    """Raise the limit of open files to `wanted`, as far as the system allows."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _exit(_signum: int, _frame: FrameType | None) -> None:
    sys.exit(0)
