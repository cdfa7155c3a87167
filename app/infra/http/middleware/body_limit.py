"""Bounded bodies, however they are sent."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.http.problem import BodyTooLarge

_ANNOUNCE = (b"content-length", b"transfer-encoding")
_DRAINED_AT_MOST = 1024 * 1024


class BodyLimit:
    """
    Refuse bodies over a number of bytes, whatever the route does with them.

    The body is read before the route begins, so that one that grows too large (chunked) has no
    effect. The rest of a body that is a little too large is read and thrown away, for many clients
    do not look for an answer before they have sent everything; beyond that the connection is
    closed (RFC 9110, section 15.5.14).
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not any(name in _ANNOUNCE for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        # The server has checked the header's form; int() would refuse thousands of digits.
        if len(declared) > 15 or (declared.isdecimal() and int(declared) > _DRAINED_AT_MOST):
            raise self._refusal(close=True)
        if "expect" in headers and declared.isdecimal() and int(declared) > self._limit:
            # The client waits for leave to send: not asking for the body spares both the transfer.
            raise self._refusal(close=True)

        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # The client has gone.
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(chunk)
            if size <= self._limit:
                chunks.append(chunk)
            else:
                chunks.clear()
            if size > _DRAINED_AT_MOST:
                raise self._refusal(close=True)
        if size > self._limit:
            raise self._refusal(close=False)
        await self._app(scope, _replay(b"".join(chunks), receive), send)

    def _refusal(self, *, close: bool) -> BodyTooLarge:
        return BodyTooLarge(
            f"A body has at most {self._limit} bytes.",
            headers={"Connection": "close"} if close else None,
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    pending = True

    async def replayed() -> Message:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed
