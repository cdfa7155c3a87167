"""The response to one request: head and first piece of the body are sent as one write."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from starlette.types import Message
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

from app.infra.server.refusal import RefusalWriter

_STATUS_WITHOUT_BODY = frozenset({204, 304})
# Fields that have few different values, none of them secret: each is checked and encoded once.
_CACHED_FIELDS = frozenset(
    {
        b"cache-control",
        b"content-security-policy",
        b"content-type",
        b"cross-origin-opener-policy",
        b"cross-origin-resource-policy",
        b"ratelimit-policy",
        b"referrer-policy",
        b"strict-transport-security",
        b"x-content-type-options",
    }
)
_CACHE_MAX = 256
_cache: dict[tuple[bytes, bytes], bytes] = {}


class ResponseCycle(RequestResponseCycle):
    """
    uvicorn's cycle, except that the head is held back until there is some of the body.

    ASGI specifies this ("Response Start"): an application that fails in between can still be
    answered with an error. Head and body also share one write, and so one packet. `refuse` writes
    the response if the application fails.
    """

    refuse: RefusalWriter
    _head: bytes | None = None

    @override
    async def send(self, message: Message) -> None:  # type: ignore[override]  # as wide as ASGI's
        """
        Send a message of the application.

        :raises RuntimeError: if the message is out of order, or is not valid HTTP
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        begun = self.response_started or self._head is not None
        if message["type"] != ("http.response.body" if begun else "http.response.start"):
            raise RuntimeError(f"Unexpected ASGI message {message['type']!r}.")
        if begun:
            self._send_body(message.get("body", b""), last=not message.get("more_body", False))
        else:
            self._encode_head(message["status"], message.get("headers", ()))

    @override
    async def send_500_response(self) -> None:
        state = self.scope.setdefault("state", {})
        request_id: str = state.setdefault("request_id", uuid4().hex)
        refusal = self.refuse(None, dict(self.scope), request_id)
        self._head = self.chunked_encoding = None
        self.expected_content_length = 0
        await refusal.send(self.send)

    def _encode_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.waiting_for_100_continue = False
        lines = [STATUS_LINE[status]]
        for name, value in (*self.default_headers, *headers):
            lines.append(_cache.get((name, value)) or self._line(name, value))
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if (
            self.chunked_encoding is None
            and status not in _STATUS_WITHOUT_BODY
            and self.scope["method"] != "HEAD"
        ):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def _line(self, name: bytes, value: bytes) -> bytes:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            raise RuntimeError("Invalid name or value of a header field.")
        name = name.lower()
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length = 0
            self.chunked_encoding = True
        elif name == b"connection":
            # `_encode_head` adds it once, at the end.
            if b"close" in [token.strip() for token in value.lower().split(b",")]:
                self.keep_alive = False
            return b""
        line = b"%b: %b\r\n" % (name, value)
        if name in _CACHED_FIELDS and len(_cache) < _CACHE_MAX:
            _cache[name, value] = line
        return line

    def _send_body(self, body: bytes, *, last: bool) -> None:
        if self.response_complete:
            raise RuntimeError("The response is complete.")
        pieces = [] if self._head is None else [self._head]
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            pieces += _chunk(body, last=last)
        else:
            self.expected_content_length -= len(body)
            if body:
                pieces.append(body)
        if self.expected_content_length < 0 or (last and self.expected_content_length):
            raise RuntimeError("The body differs from its Content-Length.")
        self._head, self.response_started = None, True
        if pieces:
            self.transport.writelines(pieces)
        if last:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


def _chunk(body: bytes, *, last: bool) -> list[Any]:
    pieces = [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
    return [*pieces, b"0\r\n\r\n"] if last else pieces
