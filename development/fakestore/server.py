"""The Fake Store as a server on a socket, and a client for its switches."""

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from development.fakestore.api import create_fakestore

START_TIMEOUT_S = 10


class _Protocol(HttpToolsProtocol):
    """An HTTP protocol that gives the application its connection, to close it."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class FakeStoreServer(uvicorn.Server):
    """A server that does not wait for hanging calls when it stops."""

    def __init__(self, api: FastAPI, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Configure the server; port 0 is any free one."""
        config = uvicorn.Config(
            api,
            host=host,
            port=port,
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            # The process that it runs in, such as a test, has its own log.
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


class FakeStoreControl:
    """The switches of a running Fake Store.

    Every method raises `httpx2.HTTPStatusError` if the store refuses the request.
    """

    def __init__(self, url: str) -> None:
        # Without the environment, whose proxy must not handle loopback.
        self._client = httpx2.Client(base_url=url, timeout=10, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def misbehave(self, **switches: Any) -> None:
        """Set all switches; those not named get their defaults. `GET /` explains them."""
        self._send("PUT", "/_control", switches)

    def behave(self) -> None:
        """Stop all faults; changed products stay changed."""
        self._send("DELETE", "/_control")

    def change_product(self, product_id: int, **fields: Any) -> None:
        """Change some fields of a product, restore it, or add one."""
        self._send("PUT", f"/_control/products/{product_id}", fields)

    def remove_product(self, product_id: int) -> None:
        """Remove a product."""
        self._send("DELETE", f"/_control/products/{product_id}")

    def restore_products(self) -> None:
        """Undo all changes to products."""
        self._send("DELETE", "/_control/products")

    def calls(self) -> dict[str, Any]:
        """Return `total`, `by_path` and `last` of the catalog calls."""
        found: dict[str, Any] = self._send("GET", "/_control/calls").json()
        return found

    def call_count(self, path: str | None = None) -> int:
        """Return the number of calls of the catalog, or of one of its paths."""
        calls = self.calls()
        return int(calls["total"] if path is None else calls["by_path"].get(path, 0))

    def forget_calls(self) -> None:
        """Remove all calls from the log."""
        self._send("DELETE", "/_control/calls")

    def reset(self) -> None:
        """Restore the initial state."""
        self.behave()
        self.restore_products()
        self.forget_calls()

    def _send(self, method: str, path: str, body: object = None) -> httpx2.Response:
        return self._client.request(method, path, json=body).raise_for_status()


@dataclass(frozen=True, slots=True)
class RunningFakeStore:
    """A Fake Store that answers at `url`."""

    url: str
    control: FakeStoreControl


@contextmanager
def running_fakestore() -> Generator[RunningFakeStore]:
    """Serve a Fake Store on a free port of 127.0.0.1, in a thread of its own.

    :raises TimeoutError: if it does not start
    """
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = FakeStoreServer(create_fakestore())
    thread = threading.Thread(target=server.run, args=([listener],), name="fakestore", daemon=True)
    thread.start()
    control = FakeStoreControl(url)
    try:
        # The socket listens already: this waits until the server runs.
        control.calls()
        yield RunningFakeStore(url, control)
    finally:
        control.close()
        server.should_exit = True
        thread.join(START_TIMEOUT_S)
        listener.close()
