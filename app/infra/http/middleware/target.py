"""Validation of request targets."""

from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.http.problem import MalformedRequest


class CheckTarget:
    """
    Refuse paths and queries that are not UTF-8 or contain U+0000.

    The decoders of the framework replace invalid bytes, and would act on another target than the
    one that was requested.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            _check(scope.get("raw_path") or b"", "path")
            _check(scope["query_string"], "query")
        await self._app(scope, receive, send)


def _check(encoded: bytes, part: str) -> None:
    # Fast path: plain ASCII needs no decoding.
    if b"%" not in encoded and encoded.isascii() and b"\0" not in encoded:
        return
    try:
        text = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"The {part} is not UTF-8.") from error
    if "\0" in text:
        raise MalformedRequest(f"The {part} contains U+0000.")
