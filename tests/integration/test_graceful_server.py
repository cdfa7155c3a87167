"""Requests that arrive while the server stops, on uvloop as in production."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from starlette.responses import PlainTextResponse

from app.infra.server import protocol
from app.infra.server.config import ServerConfig
from app.infra.server.graceful_server import GracefulServer
from app.infra.server.limits import ConnectionLimits

REQUEST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n"


def with_server(test: Callable[[GracefulServer, socket.socket], Awaitable[None]]) -> None:
    """Run a test on the loop of a running server."""

    async def run() -> None:
        config = ServerConfig(
            PlainTextResponse("served"),
            limits=ConnectionLimits(),
            lifespan="off",
        )
        config.load()
        server = GracefulServer(config)
        server.lifespan = config.lifespan_class(config)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.set_inheritable(True)
        await server.startup(sockets=[listener])
        await test(server, listener)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def answer(client: socket.socket) -> bytes:
    """Read until the server closes; fail if it resets."""
    with client, client.makefile("rb") as file:
        return file.read()


class TestListening:
    def test_sockets_are_not_inherited_by_child_processes(self) -> None:
        async def test(server: GracefulServer, listener: socket.socket) -> None:
            inheritable = listener.get_inheritable()
            await server.shutdown(sockets=[listener])
            assert not inheritable

        with_server(test)


class TestStopping:
    def test_serves_connections_in_the_backlog(self) -> None:
        async def test(server: GracefulServer, listener: socket.socket) -> None:
            clients = [socket.create_connection(listener.getsockname()) for _ in range(20)]
            for client in clients:
                client.sendall(REQUEST)
            # The loop has not run since, so none of them is accepted yet.
            await server.shutdown(sockets=[listener])
            for client in clients:
                assert (await asyncio.to_thread(answer, client)).endswith(b"served")

        with_server(test)

    def test_refuses_connections_afterwards(self) -> None:
        async def test(server: GracefulServer, listener: socket.socket) -> None:
            address = listener.getsockname()
            await server.shutdown(sockets=[listener])
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

        with_server(test)

    def test_reads_input_that_has_arrived_before_it_closes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The timer is due before the loop reads the second request.
        monkeypatch.setattr(protocol, "LAST_REQUEST_S", 0)

        async def test(server: GracefulServer, listener: socket.socket) -> None:
            client = socket.create_connection(listener.getsockname())
            client.sendall(REQUEST)
            assert await asyncio.to_thread(client.recv, 4096)
            stopping = asyncio.create_task(server.shutdown(sockets=[listener]))
            await asyncio.sleep(0)
            client.sendall(REQUEST)
            assert (await asyncio.to_thread(answer, client)).endswith(b"served")
            await stopping

        with_server(test)
