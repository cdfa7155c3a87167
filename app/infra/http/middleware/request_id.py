"""The id by which a request is found again in every log."""

import re
from contextvars import ContextVar
from typing import cast
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

HEADER = "X-Request-ID"

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def current_request_id() -> str | None:
    """Return the id of the request that is being answered; None outside of one."""
    return _current.get()


def request_id_of(scope: Scope) -> str:
    """Return the id of a request; empty if it failed before it got one."""
    return cast(str, scope.get("state", {}).get("request_id", ""))


class RequestId:
    """Take over an acceptable `X-Request-ID` or make a new one, and echo it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).getlist(HEADER)
        acceptable = len(sent) == 1 and _ACCEPTABLE.fullmatch(sent[0]) is not None
        request_id = sent[0] if acceptable else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        token = _current.set(request_id)
        try:
            with bound_contextvars(request_id=request_id):
                await self._app(scope, receive, send_with_id)
        finally:
            _current.reset(token)
