"""Limits on what clients may use of a server process."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

HEAD_MAX_BYTES = 64 * 1024
# A body may have more than PIECES_MAX pieces only if they average PIECE_MIN_BYTES.
PIECES_MAX = 4096
PIECE_MIN_BYTES = 16
# Above this multiple of the connection limit, a new connection is reset without a response.
HARD_LIMIT_FACTOR = 2
# Health checks are served above the connection limit as well.
HEALTH_PREFIX = "/health/"


class Wait(StrEnum):
    """What the server waits for on a connection."""

    REQUEST = "request"
    HEAD = "head"
    BODY = "body"
    READING = "reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """
    Time-outs and number of the connections of one process.

    The head of a request must arrive within `head`, and its body within `body` after that. A
    client must not stop reading a response for longer than `reading`. A connection without a
    request is closed after `keep_alive`. Above `connections`, idle connections are closed to make
    room for new ones.
    """

    head: timedelta = timedelta(seconds=10)
    body: timedelta = timedelta(seconds=30)
    reading: timedelta = timedelta(seconds=10)
    keep_alive: timedelta = timedelta(seconds=5)
    connections: int = 1000

    def timeout_s(self, wait: Wait) -> float:
        """Return how long the server waits, in seconds."""
        match wait:
            case Wait.REQUEST:
                timeout = self.keep_alive
            case Wait.HEAD:
                timeout = self.head
            case Wait.BODY:
                timeout = self.body
            case Wait.READING:
                timeout = self.reading
        return timeout.total_seconds()
