"""The ID that connects a request with its log lines, its trace and its response."""

import re
from collections.abc import Sequence
from contextvars import ContextVar
from os import urandom
from typing import cast

from starlette.types import Scope
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

HEADER = "X-Request-ID"
FIELD = HEADER.lower().encode()
"""The name of the header field in the form of ASGI."""

_ACCEPTABLE = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# structlog adds variables with this prefix to every event.
_current: ContextVar[str] = ContextVar(f"{STRUCTLOG_KEY_PREFIX}request_id")


def current_request_id() -> str | None:
    """Return the ID of the request in progress; None outside of a request."""
    return _current.get(None)


def request_id_of(scope: Scope) -> str:
    """Return the ID of a request; empty if it failed before it got one."""
    return cast(str, scope.get("state", {}).get("request_id", ""))


def choose_request_id(sent: Sequence[bytes]) -> str:
    """Return the client's ID if it sent exactly one that is valid, else a new one."""
    if len(sent) == 1 and _ACCEPTABLE.fullmatch(sent[0]) is not None:
        return sent[0].decode()
    return urandom(16).hex()


class RequestIdBound:
    """Add an ID to every log line that is written within the context."""

    __slots__ = ("_id", "_token")

    def __init__(self, request_id: str) -> None:
        self._id = request_id

    def __enter__(self) -> None:
        self._token = _current.set(self._id)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
