"""A uvicorn server that stops without losing a request."""

import asyncio
import socket
from types import FrameType

import uvicorn
from typing_extensions import override

from app.infra.server.config import ServerConfig
from app.infra.server.connections import Connections
from app.infra.server.protocol import BoundedHttpProtocol
from app.infra.server.tcp import accept_pending

TICK_S = 0.1


class GracefulServer(uvicorn.Server):
    """
    Serve every connection that was made before the server stopped listening.

    A connection in the backlog of a socket is reset when the socket is closed, although its
    request may have been sent already. So the server accepts the backlog before it stops.
    """

    config: ServerConfig
    server_state: Connections

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config)
        self.server_state = Connections(config.limits)

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.should_exit:
            # The stop signal arrived while the application was loading.
            return
        # A child process would keep the port open after this process stops listening.
        for listener in sockets or ():
            listener.set_inheritable(False)
        await super().startup(sockets)
        self.server_state.start_checks(self.config.observer())

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._drain()
        # The duplicates keep the backlog alive while asyncio closes the originals.
        listeners = [listener.dup() for listener in sockets or ()]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in [each for listener in listeners for each in accept_pending(listener)]:
            await loop.connect_accepted_socket(self._create_protocol, connection)
        await super().shutdown(sockets)
        self.server_state.stop_checks()

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if hasattr(self, "lifespan"):
            # At once, because uvicorn's main loop sees the signal only at its next tick. During
            # startup too, so that the server is not ready when it begins to listen.
            self.lifespan.state["draining"] = True
        super().handle_exit(sig, frame)

    async def _drain(self) -> None:
        """Continue to serve until load balancers have seen that the server is not ready."""
        clock = asyncio.get_running_loop().time
        end = clock() + self.config.drain.total_seconds()
        ticks = 0
        while clock() < end and not self.force_exit:
            await asyncio.sleep(TICK_S)
            # Update the Date field, as uvicorn's main loop does.
            ticks += 1
            await self.on_tick(ticks)

    def _create_protocol(self) -> BoundedHttpProtocol:
        return BoundedHttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
