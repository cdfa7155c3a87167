"""The catalog over real sockets, with a faulty or hostile server."""

import asyncio
import socket
import ssl
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from typing_extensions import override

from app.application.catalog.catalog_observer import CallOutcome
from app.domain.outcome import CatalogUnavailable
from app.domain.product import Product, ProductId
from app.infra.fakestore.catalog import FakeStoreCatalog
from app.infra.fakestore.client import create_client
from app.infra.fakestore.options import CatalogOptions
from development.fakestore.api import create_fakestore
from development.fakestore.server import FakeStoreServer
from tests import make
from tests.integration.fakestore.upstream import (
    Conversation,
    ManualTime,
    RecordingObserver,
    Server,
    catalog_on,
    product_json,
    raw,
    served,
)

FIVE = ProductId(5)
MIB = 1024 * 1024
HASTY = CatalogOptions(deadline_s=0.3, queue_timeout_s=0.2)
PATIENT = CatalogOptions(
    deadline_s=30, connect_timeout_s=30, queue_timeout_s=20, breaker_min_calls=1_000_000
)

GOOD = raw(product_json().encode(), "Connection: close")


def _sends(*pieces: bytes) -> Conversation:
    async def converse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return converse


async def _hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in raw(product_json().encode() + b" " * MIB):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.01)


async def _reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def _catalog(
    converse: Conversation, options: CatalogOptions, observer: RecordingObserver | None = None
) -> AsyncIterator[tuple[FakeStoreCatalog, Server]]:
    async with served(converse) as server, create_client(server.url, options) as client:
        yield catalog_on(client, options=options, observer=observer), server


async def _outcome(converse: Conversation, options: CatalogOptions = PATIENT) -> CallOutcome:
    observer = RecordingObserver()
    async with _catalog(converse, options, observer) as (catalog, _):
        with pytest.raises(CatalogUnavailable):
            await catalog.find(FIVE)
    return observer.calls[0][1]


class TestNetwork:
    async def test_returns_a_product(self) -> None:
        async with _catalog(_sends(GOOD), PATIENT) as (catalog, _):
            assert await catalog.find(FIVE) == make.product(id=5)

    async def test_returns_an_empty_response(self) -> None:
        async with _catalog(_sends(raw(b"")), PATIENT) as (catalog, _):
            assert await catalog.find(FIVE) is None

    async def test_reuses_connections(self) -> None:
        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                writer.write(raw(product_json().encode()))
                await writer.drain()
                await reader.readuntil(b"\r\n\r\n")
                server.requests += 1

        async with _catalog(converse, PATIENT) as (catalog, server):
            for _ in range(5):
                await catalog.find(FIVE)
            assert (server.requests, server.busiest) == (5, 1)

    async def test_hangs(self) -> None:
        assert await _outcome(_hang, HASTY) is CallOutcome.TIMEOUT

    async def test_sends_byte_by_byte(self) -> None:
        assert await _outcome(_drip, HASTY) is CallOutcome.TIMEOUT

    async def test_resets(self) -> None:
        assert await _outcome(_reset) is CallOutcome.TRANSPORT

    async def test_refuses(self) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))  # bound, but not listening
            port = sock.getsockname()[1]
            observer = RecordingObserver()
            async with create_client(f"http://127.0.0.1:{port}", PATIENT) as client:
                catalog = catalog_on(client, options=PATIENT, observer=observer)
                with pytest.raises(CatalogUnavailable):
                    await catalog.find(FIVE)
        assert observer.calls[0][1:] == (CallOutcome.TRANSPORT, 2)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            raw(b"", length=10),
            raw(product_json().encode(), length=10_000),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nnul",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"220 mail.test ESMTP\r\n",
            b"\0" * 1_000,
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * (2 * MIB),
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300_000,
        ],
        ids=lambda answer: repr(answer[:60]),
    )
    async def test_sends_truncated_or_invalid_http(self, answer: bytes) -> None:
        assert await _outcome(_sends(answer)) is CallOutcome.TRANSPORT

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect"])
    async def test_redirects(self, status: str) -> None:
        async with served(_sends(GOOD)) as elsewhere:
            answer = raw(b"", f"Location: {elsewhere.url}/products/5", status=status)
            assert await _outcome(_sends(answer)) is CallOutcome.UNEXPECTED_STATUS
            assert elsewhere.requests == 0

    async def test_sends_a_body_that_is_too_large(self) -> None:
        body = b" " * (MIB + 1)
        assert await _outcome(_sends(raw(body))) is CallOutcome.TOO_LARGE

    async def test_sends_an_endless_body(self) -> None:
        async def converse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b" " * 65_536)
                await writer.drain()

        assert await _outcome(converse) is CallOutcome.TOO_LARGE

    async def test_sends_a_decompression_bomb(self) -> None:
        packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        bomb = [packer.compress(b" " * MIB) for _ in range(200)]
        answer = raw(b"".join([*bomb, packer.flush()]), "Content-Encoding: gzip")
        tracemalloc.start()
        try:
            assert await _outcome(_sends(answer)) is CallOutcome.TOO_LARGE
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 * MIB

    async def test_ignores_a_proxy_in_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with served(_hang) as proxy:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            async with _catalog(_sends(GOOD), PATIENT) as (catalog, _):
                assert await catalog.find(FIVE) == make.product(id=5)
            assert proxy.requests == 0


class TestCallers:
    async def test_are_at_most_sixteen_at_once(self) -> None:
        arrived, gate = asyncio.Semaphore(0), asyncio.Event()

        async def converse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.release()
            await gate.wait()
            writer.write(GOOD)
            await writer.drain()

        options = PATIENT
        async with _catalog(converse, options) as (catalog, server):
            calls = [asyncio.create_task(catalog.find(FIVE)) for _ in range(48)]
            for _ in range(options.max_concurrent):
                await arrived.acquire()
            gate.set()
            products = await asyncio.gather(*calls)
            assert products == [make.product(id=5)] * 48
            assert server.busiest <= options.max_concurrent

    @pytest.mark.parametrize("stage", ["hang", "head", "body"])
    async def test_that_are_canceled_by_the_thousand_leak_nothing(self, stage: str) -> None:
        """Whatever the canceled calls waited for, the next call works."""
        pieces = {"hang": [], "head": [GOOD[:20]], "body": [GOOD[:-10]]}
        arrived = asyncio.Semaphore(0)
        good = False

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if good:
                await _sends(GOOD)(reader, writer)
                return
            await _sends(*pieces[stage])(reader, writer)
            arrived.release()
            await reader.read()  # until the client disconnects

        async with _catalog(converse, PATIENT) as (catalog, server):
            for _ in range(20):
                calls = [asyncio.create_task(catalog.find(FIVE)) for _ in range(50)]
                for _ in range(PATIENT.max_concurrent):
                    await arrived.acquire()
                await _cancel(calls)
            good = True
            found = await asyncio.gather(*(catalog.find(FIVE) for _ in range(32)))
            assert found == [make.product(id=5)] * 32
            assert server.busiest <= 2 * PATIENT.max_concurrent

    async def test_that_are_canceled_at_any_moment_leak_nothing(self) -> None:
        async with _catalog(_sends(GOOD), PATIENT) as (catalog, _):
            for turns in range(200):
                calls = [asyncio.create_task(catalog.find(FIVE)) for _ in range(5)]
                for _ in range(turns % 40):
                    await asyncio.sleep(0)
                await _cancel(calls)
            found = await asyncio.gather(*(catalog.find(FIVE) for _ in range(32)))
            assert found == [make.product(id=5)] * 32

    async def test_that_are_canceled_as_probes_leak_nothing(self) -> None:
        options = CatalogOptions(breaker_min_calls=1, breaker_open_s=1e-9, max_tries=1)
        behavior = _sends(raw(b"<html>", "Connection: close"))

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await behavior(reader, writer)

        async with served(converse) as server, create_client(server.url, options) as client:
            catalog = _ticking(client, options)
            with pytest.raises(CatalogUnavailable):
                await catalog.find(FIVE)
            behavior = _hang
            for turns in range(100):
                probe = asyncio.create_task(catalog.find(FIVE))
                for _ in range(turns % 20):
                    await asyncio.sleep(0)
                await _cancel([probe])
            behavior = _sends(GOOD)
            assert await catalog.find(FIVE) == make.product(id=5)


def _ticking(client: httpx2.AsyncClient, options: CatalogOptions) -> FakeStoreCatalog:
    class Ticking(ManualTime):
        @override
        def monotonic(self) -> float:
            self.now += 0.001
            return self.now

    return catalog_on(client, options=options, time=Ticking())


async def _cancel(tasks: list["asyncio.Task[Product | None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class TestConnections:
    def test_are_dropped_before_the_server_closes_them(self) -> None:
        server = FakeStoreServer(create_fakestore())
        assert CatalogOptions().keepalive_s < server.config.timeout_keep_alive


@pytest.mark.parametrize("url", ["https://store.example", "HTTPS://store.example", "HTTP://store"])
def test_the_certificate_of_a_catalog_with_tls_is_verified(url: str) -> None:
    transport: Any = create_client(url, CatalogOptions())._transport  # noqa: SLF001 - no public API
    context = transport._pool._ssl_context  # noqa: SLF001
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.get_ca_certs()
