"""How answers are written: the head together with the first piece of the body."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

from starlette.responses import Response
from starlette.types import Message
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

from app.infra.http.middleware.request_id import FIELD
from app.infra.http.middleware.security_headers import security_headers
from app.infra.http.problem import InternalError, problem_response

# That the site is for HTTPS alone is said by the application.
SECURITY = security_headers(https_only=False)

_WITHOUT_BODY = frozenset({204, 304})
# Fields that have the same few values in all answers; what is in them is nobody's secret.
_SAME = frozenset(
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
_SAME_MAX = 256
_same: dict[tuple[bytes, bytes], bytes] = {}


class Answer(RequestResponseCycle):
    """
    A request and its answer, of which nothing is sent before there is something of the body.

    ASGI has it so ("Response Start"): an application that fails in between can still be answered
    for. Besides, one write is one packet, for us and for the client. Fields that are the same in
    every answer are looked at and written once.
    """

    _head: bytes | None = None

    @override
    async def send(self, message: Message) -> None:  # type: ignore[override]  # as wide as ASGI's
        """
        Take what the application says next.

        :raises RuntimeError: if that is not what comes next, or is not HTTP
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        begun = self.response_started or self._head is not None
        if message["type"] != ("http.response.body" if begun else "http.response.start"):
            raise RuntimeError(f"{message['type']!r} is not what comes next.")
        if begun:
            self._go_on(message.get("body", b""), last=not message.get("more_body", False))
        else:
            self._begin(message["status"], message.get("headers", ()))

    @override
    async def send_500_response(self) -> None:
        # As every other failure: this one is of what is outside of the layer that words them.
        state = self.scope.setdefault("state", {})
        request_id: str = state.setdefault("request_id", uuid4().hex)
        answer = problem_response(dict(self.scope), InternalError("The error has been logged."))
        self._head = self.chunked_encoding = None
        self.expected_content_length = 0
        await self.send(
            {
                "type": "http.response.start",
                "status": answer.status_code,
                "headers": last_fields(answer, request_id),
            }
        )
        await self.send({"type": "http.response.body", "body": answer.body})

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.waiting_for_100_continue = False
        lines = [STATUS_LINE[status]]
        for name, value in (*self.default_headers, *headers):
            lines.append(_same.get((name, value)) or self._line(name, value))
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if (
            self.chunked_encoding is None
            and status not in _WITHOUT_BODY
            and self.scope["method"] != "HEAD"
        ):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def _line(self, name: bytes, value: bytes) -> bytes:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            raise RuntimeError("This is no field of a head.")
        name = name.lower()
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length = 0
            self.chunked_encoding = True
        elif name == b"connection":
            # Said once, at the end.
            if b"close" in [token.strip() for token in value.lower().split(b",")]:
                self.keep_alive = False
            return b""
        line = b"%b: %b\r\n" % (name, value)
        if name in _SAME and len(_same) < _SAME_MAX:
            _same[name, value] = line
        return line

    def _go_on(self, body: bytes, *, last: bool) -> None:
        if self.response_complete:
            raise RuntimeError("The answer is complete.")
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
            raise RuntimeError("The body is not as long as was said.")
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


def last_fields(answer: Response, request_id: str) -> Sequence[tuple[bytes, bytes]]:
    """Return the fields of an answer that the server gives by itself, and hangs up after."""
    return [
        *SECURITY,
        *answer.raw_headers,
        (FIELD, request_id.encode()),
        (b"connection", b"close"),
    ]
