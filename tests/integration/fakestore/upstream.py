"""Doubles of the catalog's side: responses, time, and a real server."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

import httpx2
from opentelemetry.trace import Tracer
from typing_extensions import override

from app.application.catalog.catalog_observer import (
    BreakerState,
    CallOutcome,
    CatalogObserver,
    NullCatalogObserver,
    Operation,
)
from app.infra.fakestore.catalog import FakeStoreCatalog
from app.infra.fakestore.client import create_client
from app.infra.fakestore.options import CatalogOptions
from app.infra.observability.tracing.spans import NO_TRACER
from tests.make import NOW

Handler: TypeAlias = Callable[[httpx2.Request], Coroutine[None, None, httpx2.Response]]

BODY: Mapping[str, object] = {
    "id": 5,
    "title": "Chain Bracelet",
    "price": 695,
    "description": "Inspired by the dragon that guards the pearl.",
    "category": "jewelery",
    "image": "https://catalog.test/img/5.jpg",
    "rating": {"rate": 4.6, "count": 400},
}
"""The product `make.product(id=5)` as the catalog sends it."""

NO_BREAKER = CatalogOptions(breaker_min_calls=1_000_000)


def product_json(**changes: object) -> str:
    """Return `BODY` as JSON with members changed, or removed if they are `...`."""
    members = {**BODY, **changes}
    return json.dumps({name: value for name, value in members.items() if value is not ...})


def answer(
    body: str | bytes = "", *, status: int = 200, headers: Mapping[str, str] | None = None
) -> httpx2.Response:
    """Create a response whose body has not been read, as from the network."""
    content = body.encode() if isinstance(body, str) else body
    return httpx2.Response(
        status,
        headers={"Content-Length": str(len(content)), **(headers or {})},
        stream=_Body(content),
    )


class _Body(httpx2.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), 65_536):
            yield self._content[start : start + 65_536]


@dataclass
class ManualTime:
    """A clock that only `sleep` and tests advance; records the pauses."""

    now: float = 1_000.0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@dataclass
class RecordingObserver(CatalogObserver):
    """Records all notifications."""

    calls: list[tuple[Operation, CallOutcome, int]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    states: list[BreakerState] = field(default_factory=list)

    @override
    def called(
        self, operation: Operation, *, outcome: CallOutcome, latency_s: float, retries: int
    ) -> None:
        self.calls.append((operation, outcome, retries))
        self.latencies.append(latency_s)

    @override
    def breaker_changed(self, state: BreakerState) -> None:
        self.states.append(state)


class Scripted:
    """Replies from a script, repeating the last reply; records the requests."""

    def __init__(self, *script: httpx2.Response | Exception) -> None:
        self._script = list(script)
        self.requests: list[httpx2.Request] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        reply = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(reply, Exception):
            raise reply
        # A copy, because a response can be read only once.
        return httpx2.Response(reply.status_code, headers=reply.headers, stream=reply.stream)


def catalog_answered_by(
    handler: Handler,
    *,
    options: CatalogOptions = NO_BREAKER,
    time: ManualTime | None = None,
    observer: CatalogObserver | None = None,
    request_id: str | None = None,
    base_url: str = "http://catalog.test",
    tracer: Tracer = NO_TRACER,
) -> FakeStoreCatalog:
    """Create a catalog whose network is a function; it need not be closed."""
    client = create_client(base_url, options, transport=httpx2.MockTransport(handler))
    return catalog_on(
        client,
        options=options,
        time=time,
        observer=observer,
        request_id=request_id,
        tracer=tracer,
    )


def catalog_on(
    client: httpx2.AsyncClient,
    *,
    options: CatalogOptions,
    time: ManualTime | None = None,
    observer: CatalogObserver | None = None,
    request_id: str | None = None,
    tracer: Tracer = NO_TRACER,
) -> FakeStoreCatalog:
    """Create a catalog with manual time, except for the deadline."""
    time = time or ManualTime()
    return FakeStoreCatalog(
        client,
        options=options,
        clock=lambda: NOW + timedelta(seconds=time.now - 1_000),
        request_id=lambda: request_id,
        observer=observer or NullCatalogObserver(),
        tracer=tracer,
        monotonic=time.monotonic,
        sleep=time.sleep,
    )


Conversation: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A server on a free port that runs `converse` for one request per connection."""

    converse: Conversation
    requests: int = 0
    connections: int = 0
    busiest: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.busiest = max(self.busiest, self.connections)
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await self.converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # some tests disconnect the client
        finally:
            self.connections -= 1
            writer.close()


@asynccontextmanager
async def served(converse: Conversation) -> AsyncIterator[Server]:
    """Run a server on the loopback address until the block ends."""
    server = Server(converse)
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        task.add_done_callback(running.discard)
        await server.serve(reader, writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def raw(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return an HTTP/1.1 response; `length` replaces the correct Content-Length."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
