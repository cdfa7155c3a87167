"""Connections that end before their client is done, and who hears of them."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol, TypeAlias


class CutOff(StrEnum):
    """Why we ended a connection, or refused what was asked on it, before its client was done."""

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
    """Hears of a process's connections about once a second; must not block and must not raise."""

    def __call__(self, *, open_: int, limit: int, cut_off: Mapping[str, int]) -> None:
        """
        `open_` are the connections there are, and `limit` says how many there may be.

        `cut_off` has how many were cut off since the last time, for each reason there is.
        """


ConnectionObserverFactory: TypeAlias = Callable[[], ConnectionObserver]
"""Makes the observer of a process in that process; it is found there by its name."""


def _ignore(*, open_: int, limit: int, cut_off: Mapping[str, int]) -> None:
    pass


def nobody() -> ConnectionObserver:
    """Return an observer that does not listen."""
    return _ignore
