"""A limit on the size of request bodies."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.http.problem import BodyTooLarge

_BODY_FIELDS = (b"content-length", b"transfer-encoding")
_DRAIN_MAX = 1024 * 1024


class BodyLimit:
    """
    Refuse bodies larger than a number of bytes, whether the route reads them or not.

    The body is read before the route runs, so that a chunked body that grows too large has no
    effect. The rest of a body that is slightly too large is read and discarded, because many
    clients read no response before they have sent the whole request. Beyond that the connection is
    closed (RFC 9110, section 15.5.14).
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not any(
            name in _BODY_FIELDS for name, _ in scope["headers"]
        ):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        # The server has validated the field; int() would refuse a value of thousands of digits.
        if len(declared) > 15 or (declared.isdecimal() and int(declared) > _DRAIN_MAX):
            raise self._refusal(close=True)
        if "expect" in headers and declared.isdecimal() and int(declared) > self._limit:
            # The client waits for 100 (Continue): refuse before it sends the body.
            raise self._refusal(close=True)

        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # The client has disconnected.
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(chunk)
            if size <= self._limit:
                chunks.append(chunk)
            else:
                chunks.clear()
            if size > _DRAIN_MAX:
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
