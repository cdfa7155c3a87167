"""Responses that the server sends without the application."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from uuid import uuid4

from starlette.types import Scope, Send

from app.infra.server.disconnect import DisconnectReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """
    A complete response that the server sends itself; it closes the connection afterwards.

    `fields` are complete: they include `content-length` and `connection: close`.
    """

    status: int
    phrase: str
    fields: Sequence[tuple[bytes, bytes]]
    body: bytes
    request_id: str

    def encode(self) -> bytes:
        """Return the response as HTTP/1.1."""
        line = f"HTTP/1.1 {self.status} {self.phrase}\r\n".encode()
        head = b"".join(b"%b: %b\r\n" % field for field in self.fields)
        return b"%b%b\r\n%b" % (line, head, self.body)

    async def send(self, send: Send) -> None:
        """Send the response as ASGI messages."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.fields})
        await send({"type": "http.response.body", "body": self.body})


class RefusalWriter(Protocol):
    """Write the responses of the server; a module-level function, because it is pickled."""

    def __call__(
        self, reason: DisconnectReason | None, scope: Scope, request_id: str | None
    ) -> Refusal:
        """
        Write the response for a reason; `None` means that the application failed.

        Called for the reasons in `STATUS` only. `scope` has an empty path and no fields if the
        request could not be read. Without a `request_id` the writer chooses one.
        """


STATUS: Mapping[DisconnectReason | None, HTTPStatus] = {
    DisconnectReason.MALFORMED: HTTPStatus.BAD_REQUEST,
    DisconnectReason.TOO_MANY_PIECES: HTTPStatus.BAD_REQUEST,
    DisconnectReason.HEAD_TIMEOUT: HTTPStatus.REQUEST_TIMEOUT,
    DisconnectReason.BODY_TIMEOUT: HTTPStatus.REQUEST_TIMEOUT,
    DisconnectReason.HEAD_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    DisconnectReason.SERVER_BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    None: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The reasons for which there is a response, with its status."""


def write_empty_refusal(
    reason: DisconnectReason | None,
    scope: Scope,  # noqa: ARG001 - the signature of RefusalWriter
    request_id: str | None,
) -> Refusal:
    """Return a response with a status and no content."""
    status = STATUS[reason]
    return Refusal(
        status=status.value,
        phrase=status.phrase,
        fields=[(b"content-length", b"0"), (b"connection", b"close")],
        body=b"",
        request_id=request_id or uuid4().hex,
    )
