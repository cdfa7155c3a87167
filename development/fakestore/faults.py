"""The middleware that injects faults into catalog calls."""

import asyncio
import json
import socket
import struct
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias, TypedDict

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from development.fakestore.switches import Effect, Fault, FaultState, Switches

LOG_LENGTH = 1000
PATHS_COUNTED = 10_000
OVERSIZED_BYTES = 2 * 1024 * 1024
BOMB_BYTES = 256 * 1024 * 1024

Json: TypeAlias = Any

HTML = (
    b"<!doctype html><html><head><title>Just a moment...</title></head>"
    b"<body><h1>Checking your browser</h1></body></html>"
)


class Call(TypedDict):
    """One catalog call; `answer` is the status, or the fault that replaced it."""

    at: str
    method: str
    path: str
    query: str
    request_id: str | None
    answer: str
    seconds: float | None


class CallLog:
    """The calls since the last clearing: all are counted, the last thousand kept."""

    def __init__(self) -> None:
        self.total = 0
        self.by_path: Counter[str] = Counter()
        self.last: deque[Call] = deque(maxlen=LOG_LENGTH)

    def begin(self, scope: Scope) -> Call:
        """Record the beginning of a call."""
        call = Call(
            at=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            request_id=Headers(scope=scope).get("x-request-id"),
            answer="none yet",
            seconds=None,
        )
        self.total += 1
        known = call["path"] in self.by_path or len(self.by_path) < PATHS_COUNTED
        self.by_path[call["path"] if known else "others"] += 1
        self.last.append(call)
        return call

    def clear(self) -> None:
        """Remove all calls."""
        self.total = 0
        self.by_path.clear()
        self.last.clear()


class BufferedResponse:
    """A complete response, which can be changed before it is sent."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = dict(headers)
        self.body = body

    def start(self) -> Message:
        """Return the ASGI message that starts the response, with its full length."""
        headers = {**self.headers, "content-length": str(len(self.body))}
        return {
            "type": "http.response.start",
            "status": self.status,
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        }


class FaultMiddleware:
    """Log each catalog call, and inject the faults that the switches ask for."""

    def __init__(self, app: ASGIApp, *, state: FaultState, log: CallLog) -> None:
        self._app = app
        self._state = state
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http" or not scope["path"].startswith("/products"):
            await self._app(scope, receive, send)
            return
        call = self._log.begin(scope)
        effect = self._state.next_effect(scope["path"])
        started = time.perf_counter()
        try:
            await self._answer(_Client(scope, receive, send), effect, call)
        finally:
            call["seconds"] = round(time.perf_counter() - started, 6)

    async def _answer(self, client: "_Client", effect: Effect, call: Call) -> None:
        await client.drain()
        if effect.wait:
            call["answer"] = "delayed"
            if await client.disconnects(effect.wait):
                call["answer"] = "client left"
                return
        match effect.answer:
            case Fault.HANG:
                call["answer"] = "hang"
                await client.disconnects(None)
            case Fault.RESET:
                call["answer"] = "reset"
                await client.cut(abruptly=True)
            case Fault.TRUNCATED:
                response = await self._good_response(client)
                call["answer"] = "truncated"
                await client.send(response.start())
                await client.write(response.body[: len(response.body) // 2], more=True)
                await client.cut(abruptly=False)
            case Fault.DRIP:
                call["answer"] = "drip"
                await self._drip(client, await self._good_response(client))
            case int() as status:
                await client.complete(self._status(status), call)
            case None:
                await client.complete(await self._good_response(client), call)
            case fault:
                response = await faulty(
                    await self._good_response(client), fault, self._state.switches
                )
                await client.complete(response, call)
                call["answer"] = fault.value

    def _status(self, status: int) -> BufferedResponse:
        retry_after = self._state.switches.retry_after
        headers = {"content-type": "text/html; charset=utf-8"}
        if retry_after is not None:
            headers["retry-after"] = retry_after
        return BufferedResponse(status, headers, b"<html><body><h1>%d</h1></body></html>" % status)

    async def _good_response(self, client: "_Client") -> BufferedResponse:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        async def empty_body() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        await self._app(client.scope, empty_body, keep)
        body = b"".join(message.get("body", b"") for message in messages)
        headers = Headers(raw=messages[0]["headers"])
        return BufferedResponse(messages[0]["status"], headers, body)

    async def _drip(self, client: "_Client", response: BufferedResponse) -> None:
        await client.send(response.start())
        for position in range(len(response.body)):
            await client.write(response.body[position : position + 1], more=True)
            if await client.disconnects(self._state.switches.drip_interval):
                return
        await client.write(b"", more=False)


class _Client:
    """The connection to the client of a call."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.send = send
        self._receive = receive

    async def drain(self) -> None:
        """Read the whole request."""
        while (await self._receive()).get("more_body", False):
            pass

    async def disconnects(self, seconds: float | None) -> bool:
        """Wait for the client to disconnect; return False after these seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
            return True
        return False

    async def write(self, body: bytes, *, more: bool) -> None:
        """Send a part of the body."""
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def complete(self, response: BufferedResponse, call: Call) -> None:
        """Send a complete response."""
        call["answer"] = str(response.status)
        await self.send(response.start())
        await self.write(response.body, more=False)

    async def cut(self, *, abruptly: bool) -> None:
        """Close the connection during the response, `abruptly` with a reset (RFC 9293, 3.10.7.4).

        :raises ConnectionResetError: without a connection, as in tests without a socket
        """
        transport = self.scope.get("state", {}).get("transport")
        if transport is None:
            raise ConnectionResetError("the Fake Store cut the connection")
        if abruptly:
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            transport.abort()
        else:
            transport.close()
        await self.disconnects(None)


_INFINITE = "no finite number"
_PADDING = "x" * OVERSIZED_BYTES
_JSON = "application/json; charset=utf-8"

# Faults that replace the response: content type and body.
SUBSTITUTES: Mapping[Fault, tuple[str, bytes]] = {
    Fault.HTML: ("text/html; charset=utf-8", HTML),
    Fault.EMPTY_OBJECT: (_JSON, b"{}"),
    Fault.NULL: (_JSON, b"null"),
    Fault.EMPTY: (_JSON, b""),
}

# Faults in an otherwise good response: the change to each of its products.
CHANGES: Mapping[Fault, Callable[[dict[str, Json]], object]] = {
    Fault.WRONG_ID: lambda product: product.update(id=product["id"] + 1000),
    Fault.INFINITE_PRICE: lambda product: product.update(price=_INFINITE),
    Fault.MISSING_FIELD: lambda product: product.pop("price"),
    Fault.NO_RATING: lambda product: product.pop("rating", None),
    Fault.OVERSIZED: lambda product: product.update(description=_PADDING),
}


async def faulty(response: BufferedResponse, fault: Fault, switches: Switches) -> BufferedResponse:
    """Return the response that a fault makes of a good one."""
    if fault in SUBSTITUTES:
        content_type, body = SUBSTITUTES[fault]
        return BufferedResponse(200, {"content-type": content_type}, body)
    if fault is Fault.REDIRECT:
        return BufferedResponse(302, {"location": switches.redirect_to}, b"")
    if fault is Fault.GZIP_BOMB:
        bomb = await asyncio.to_thread(gzip_bomb)
        return BufferedResponse(200, {"content-type": _JSON, "content-encoding": "gzip"}, bomb)
    body = changed(response.body, CHANGES[fault])
    # JSON allows this number (RFC 8259, 6), but Python does not write it.
    body = body.replace(b'"%s"' % _INFINITE.encode(), b"1e9999")
    return BufferedResponse(response.status, response.headers, body)


def changed(body: bytes, change: Callable[[dict[str, Json]], object]) -> bytes:
    """Return a body with each of its products changed; other bodies are not changed."""
    try:
        content = json.loads(body)
    except ValueError:
        return body
    for product in content if isinstance(content, list) else [content]:
        if isinstance(product, dict):
            change(product)
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


@lru_cache(maxsize=1)
def gzip_bomb() -> bytes:
    """Return 256 KiB of gzip data that decode to 256 MiB of JSON (RFC 1952)."""
    compressor = zlib.compressobj(level=9, wbits=zlib.MAX_WBITS | 16)
    block = b"0" * (1024 * 1024)
    pieces = [compressor.compress(b'{"id": 1, "description": "')]
    pieces += [compressor.compress(block) for _ in range(BOMB_BYTES // len(block))]
    pieces += [compressor.compress(b'"}'), compressor.flush()]
    return b"".join(pieces)
