"""The middleware that lets the store misbehave towards the calls of its catalog."""

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

from development.fakestore.misbehavior import Effect, Fault, Misbehavior, Mood

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
    """One call of the catalog; `answer` is the status, or the fault that came in its place."""

    at: str
    method: str
    path: str
    query: str
    request_id: str | None
    answer: str
    seconds: float | None


class CallLog:
    """The calls since the log was last cleared: all counted, the last thousand kept."""

    def __init__(self) -> None:
        self.total = 0
        self.by_path: Counter[str] = Counter()
        self.last: deque[Call] = deque(maxlen=LOG_LENGTH)

    def begin(self, scope: Scope) -> Call:
        """Note a call that has just arrived."""
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
        """Forget all calls."""
        self.total = 0
        self.by_path.clear()
        self.last.clear()


class Answer:
    """A whole answer, held back so that it can be spoiled."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = dict(headers)
        self.body = body

    def start(self) -> Message:
        """Return the message that begins it, its length promised in full."""
        headers = {**self.headers, "content-length": str(len(self.body))}
        return {
            "type": "http.response.start",
            "status": self.status,
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        }


class FaultMiddleware:
    """Log every call of the catalog, and answer as badly as the switches say."""

    def __init__(self, app: ASGIApp, *, mood: Mood, log: CallLog) -> None:
        self._app = app
        self._mood = mood
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http" or not scope["path"].startswith("/products"):
            await self._app(scope, receive, send)
            return
        call = self._log.begin(scope)
        effect = self._mood.next_effect(scope["path"])
        started = time.perf_counter()
        try:
            await self._answer(_Client(scope, receive, send), effect, call)
        finally:
            call["seconds"] = round(time.perf_counter() - started, 6)

    async def _answer(self, client: "_Client", effect: Effect, call: Call) -> None:
        await client.drain()
        if effect.wait:
            call["answer"] = "delayed"
            if await client.gone(effect.wait):
                call["answer"] = "client left"
                return
        match effect.answer:
            case Fault.HANG:
                call["answer"] = "hang"
                await client.gone(None)
            case Fault.RESET:
                call["answer"] = "reset"
                await client.cut(abruptly=True)
            case Fault.TRUNCATED:
                answer = await self._good(client)
                call["answer"] = "truncated"
                await client.send(answer.start())
                await client.write(answer.body[: len(answer.body) // 2], more=True)
                await client.cut(abruptly=False)
            case Fault.DRIP:
                call["answer"] = "drip"
                await self._drip(client, await self._good(client))
            case int() as status:
                await client.complete(self._status(status), call)
            case None:
                await client.complete(await self._good(client), call)
            case fault:
                answer = await spoiled(await self._good(client), fault, self._mood.switches)
                await client.complete(answer, call)
                call["answer"] = fault.value

    def _status(self, status: int) -> Answer:
        retry_after = self._mood.switches.retry_after
        headers = {"content-type": "text/html; charset=utf-8"}
        if retry_after is not None:
            headers["retry-after"] = retry_after
        return Answer(status, headers, b"<html><body><h1>%d</h1></body></html>" % status)

    async def _good(self, client: "_Client") -> Answer:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        await self._app(client.scope, nothing, keep)
        body = b"".join(message.get("body", b"") for message in messages)
        headers = Headers(raw=messages[0]["headers"])
        return Answer(messages[0]["status"], headers, body)

    async def _drip(self, client: "_Client", answer: Answer) -> None:
        await client.send(answer.start())
        for position in range(len(answer.body)):
            await client.write(answer.body[position : position + 1], more=True)
            if await client.gone(self._mood.switches.drip_interval):
                return
        await client.write(b"", more=False)


class _Client:
    """The one who called."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.send = send
        self._receive = receive

    async def drain(self) -> None:
        """Read the request to its end."""
        while (await self._receive()).get("more_body", False):
            pass

    async def gone(self, seconds: float | None) -> bool:
        """Wait for the client to hang up, at most so long, and say whether it did."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
            return True
        return False

    async def write(self, body: bytes, *, more: bool) -> None:
        """Send a piece of the body."""
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def complete(self, answer: Answer, call: Call) -> None:
        """Send a whole answer."""
        call["answer"] = str(answer.status)
        await self.send(answer.start())
        await self.write(answer.body, more=False)

    async def cut(self, *, abruptly: bool) -> None:
        """Close the connection in mid-answer, `abruptly` with a reset (RFC 9293, 3.10.7.4).

        :raises ConnectionResetError: where there is no connection, as in tests without a socket
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
        await self.gone(None)


_INFINITE = "no finite number"
_PADDING = "x" * OVERSIZED_BYTES
_JSON = "application/json; charset=utf-8"

# Faults that come in place of an answer: content type and body.
SUBSTITUTES: Mapping[Fault, tuple[str, bytes]] = {
    Fault.HTML: ("text/html; charset=utf-8", HTML),
    Fault.EMPTY_OBJECT: (_JSON, b"{}"),
    Fault.NULL: (_JSON, b"null"),
    Fault.EMPTY: (_JSON, b""),
}

# Faults in an otherwise good answer: what is done to each of its products.
CHANGES: Mapping[Fault, Callable[[dict[str, Json]], object]] = {
    Fault.WRONG_ID: lambda product: product.update(id=product["id"] + 1000),
    Fault.INFINITE_PRICE: lambda product: product.update(price=_INFINITE),
    Fault.MISSING_FIELD: lambda product: product.pop("price"),
    Fault.NO_RATING: lambda product: product.pop("rating", None),
    Fault.OVERSIZED: lambda product: product.update(description=_PADDING),
}


async def spoiled(answer: Answer, fault: Fault, switches: Misbehavior) -> Answer:
    """Return the answer as a fault makes it."""
    if fault in SUBSTITUTES:
        content_type, body = SUBSTITUTES[fault]
        return Answer(200, {"content-type": content_type}, body)
    if fault is Fault.REDIRECT:
        return Answer(302, {"location": switches.redirect_to}, b"")
    if fault is Fault.GZIP_BOMB:
        bomb = await asyncio.to_thread(gzip_bomb)
        return Answer(200, {"content-type": _JSON, "content-encoding": "gzip"}, bomb)
    body = changed(answer.body, CHANGES[fault])
    # Python writes no such number, JSON allows it (RFC 8259, 6).
    body = body.replace(b'"%s"' % _INFINITE.encode(), b"1e9999")
    return Answer(answer.status, answer.headers, body)


def changed(body: bytes, change: Callable[[dict[str, Json]], object]) -> bytes:
    """Return a body of products with each changed; other bodies stay as they are."""
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
    """Return a quarter of a megabyte that decodes to JSON of 256 MiB (RFC 1952)."""
    press = zlib.compressobj(level=9, wbits=zlib.MAX_WBITS | 16)
    block = b"0" * (1024 * 1024)
    pieces = [press.compress(b'{"id": 1, "description": "')]
    pieces += [press.compress(block) for _ in range(BOMB_BYTES // len(block))]
    pieces += [press.compress(b'"}'), press.flush()]
    return b"".join(pieces)
