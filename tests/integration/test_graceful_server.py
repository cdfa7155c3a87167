"""Requests that arrive in the very moment the server is asked to stop, on the loop it runs on."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from starlette.responses import PlainTextResponse

from app.infra.server import connection as module
from app.infra.server.connection import ConnectionLimits
from app.infra.server.server import GracefulServer, ServerConfig

REQUEST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n"


def serving(test: Callable[[GracefulServer, socket.socket], Awaitable[None]]) -> None:
    """Run a test beside a server that serves."""

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
    def test_is_nothing_that_is_handed_down(self) -> None:
        async def test(server: GracefulServer, listener: socket.socket) -> None:
            handed_down = listener.get_inheritable()
            await server.shutdown(sockets=[listener])
            assert not handed_down

        serving(test)


class TestStopping:
    def test_serves_who_waits_to_be_accepted(self) -> None:
        async def test(server: GracefulServer, listener: socket.socket) -> None:
            clients = [socket.create_connection(listener.getsockname()) for _ in range(20)]
            for client in clients:
                client.sendall(REQUEST)
            # The loop has had no chance to accept them.
            await server.shutdown(sockets=[listener])
            for client in clients:
                assert (await asyncio.to_thread(answer, client)).endswith(b"served")

        serving(test)

    def test_refuses_who_comes_later(self) -> None:
        async def test(server: GracefulServer, listener: socket.socket) -> None:
            address = listener.getsockname()
            await server.shutdown(sockets=[listener])
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

        serving(test)

    def test_reads_what_has_arrived_before_it_closes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The last moment passes while the loop is busy with something else.
        monkeypatch.setattr(module, "LAST_REQUEST_S", 0)

        async def test(server: GracefulServer, listener: socket.socket) -> None:
            client = socket.create_connection(listener.getsockname())
            client.sendall(REQUEST)
            assert await asyncio.to_thread(client.recv, 4096)
            stopping = asyncio.create_task(server.shutdown(sockets=[listener]))
            await asyncio.sleep(0)
            client.sendall(REQUEST)
            assert (await asyncio.to_thread(answer, client)).endswith(b"served")
            await stopping

        serving(test)
