"""Why the server closes a connection, and the observer of a process's connections."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol, TypeAlias


class DisconnectReason(StrEnum):
    """
    Why the server closed a connection or refused a request before the client had finished.

    The values are labels of a metric.
    """

    NO_REQUEST = "no_request"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    READ_TIMEOUT = "read_timeout"
    HEAD_TOO_LARGE = "head_too_large"
    MALFORMED = "malformed"
    TOO_MANY_PIECES = "too_many_pieces"
    MADE_ROOM = "made_room"
    SERVER_BUSY = "server_busy"
    NOT_HEARD = "not_heard"


class ConnectionObserver(Protocol):
    """Receive the state of a process's connections about once a second."""

    def __call__(self, *, open_: int, limit: int, cut_off: Mapping[str, int]) -> None:
        """
        Record one report. Must not block and must not raise.

        `open_` is the number of connections, `limit` their maximum. `cut_off` has, for each
        `DisconnectReason`, the number of disconnections since the last report.
        """


ConnectionObserverFactory: TypeAlias = Callable[[], ConnectionObserver]
"""Create the observer in each process. A module-level function, because it is pickled."""


def _discard(*, open_: int, limit: int, cut_off: Mapping[str, int]) -> None:
    pass


def no_observer() -> ConnectionObserver:
    """Return an observer that discards its reports."""
    return _discard
