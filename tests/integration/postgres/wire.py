"""A wire to a server that can be cut, or go silent, as networks do."""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class Wire:
    """
    Passes on what is sent to a server and what it answers.

    After `hold()` nothing passes any more, in either direction, though every connection stays
    open and new ones are taken; after `release()` it goes on.
    """

    def __init__(self, url: str) -> None:
        """Describe a wire to the server of a URL."""
        self._parts = urlsplit(url)
        self._open = asyncio.Event()
        self._open.set()
        self._pumps = asyncio.TaskGroup()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The URL by which the server is reached over this wire."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{port}"))

    def hold(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    def release(self) -> None:
        """Let everything pass that was held, and what follows."""
        self._open.set()

    async def __aenter__(self) -> Self:
        await self._pumps.__aenter__()
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.release()
        await self._pumps.__aexit__(exc_type, exc, traceback)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(
            self._parts.hostname, self._parts.port or 5432
        )
        self._pumps.create_task(self._pump(reader, server_writer))
        self._pumps.create_task(self._pump(server_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
