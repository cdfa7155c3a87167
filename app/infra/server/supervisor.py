"""Several worker processes that accept from one socket."""

import socket

import uvicorn
from typing_extensions import override
from uvicorn.supervisors import multiprocess

from app.infra.server.config import ServerConfig
from app.infra.server.graceful_server import GracefulServer

HANGS_S, STARTS_S = 5, 60


class WorkerProcess(multiprocess.Process):
    """A process that runs a `GracefulServer`."""

    config: ServerConfig

    @property
    @override
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = GracefulServer(self.config)
        return self._server


class Supervisor(multiprocess.Multiprocess):
    """
    Start the worker processes, and replace those that die or hang.

    A worker that has passed a health check hangs if it does not answer for `HANGS_S`. One that is
    starting has `STARTS_S`, because it cannot answer yet: with little CPU time it would be killed
    before it is up, again and again.
    """

    def __init__(self, config: ServerConfig, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._started: set[int | None] = set()

    @override
    def keep_subprocess_alive(self) -> None:
        checked = {process.pid for process in self.processes}
        all_started = checked <= self._started
        self.config.timeout_worker_healthcheck = HANGS_S if all_started else STARTS_S
        super().keep_subprocess_alive()
        # Workers that failed the check have been replaced.
        self._started = checked & {process.pid for process in self.processes}

    @override
    def terminate_all(self) -> None:
        # New connections are refused instead of waiting in a backlog that no worker accepts.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def create_supervisor(config: ServerConfig, listener: socket.socket) -> Supervisor:
    """Return a supervisor whose workers, replacements included, are `WorkerProcess`."""
    # uvicorn looks the class up by this name and has no setting for it.
    multiprocess.Process = WorkerProcess  # type: ignore[misc]  # a class is replaced
    return Supervisor(config, sockets=[listener])
