"""Closing a connection without losing the response that was sent last."""

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from app.infra.server.protocol import BoundedHttpProtocol

LINGER_S = 2.0
LINGER_MAX_BYTES = 1024 * 1024


class LingeringClose(asyncio.Protocol):
    """
    Discard input for a short time after the last response, until the client closes.

    A socket that is closed with unread input sends RST, and the client may lose the response
    (RFC 9112, section 9.6).
    """

    def __init__(self, connection: "BoundedHttpProtocol") -> None:
        self._connection = connection
        self._transport = connection.transport
        self._remaining = LINGER_MAX_BYTES
        self._timer = connection.loop.call_later(LINGER_S, self._transport.abort)
        connection.flow.resume_reading()
        self._transport.set_protocol(self)
        self._transport.write_eof()

    @override
    def data_received(self, data: bytes) -> None:
        self._remaining -= len(data)
        if self._remaining < 0:
            self._transport.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._connection.connection_lost(exc)
