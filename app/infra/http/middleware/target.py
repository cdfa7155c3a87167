"""Request targets that mean one thing only."""

from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.http.problem import MalformedRequest


class CheckTarget:
    """
    Refuse paths and queries that are not UTF-8 or hold U+0000.

    Decoders further in would replace what they cannot read, and so find something else than was
    asked for.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            _check(scope.get("raw_path") or b"", "path")
            _check(scope["query_string"], "query")
        await self._app(scope, receive, send)


def is_plain(encoded: bytes) -> bool:
    """Tell whether there is nothing to decode, and so nothing that could go wrong with it."""
    return b"%" not in encoded and encoded.isascii() and b"\0" not in encoded


def _check(encoded: bytes, part: str) -> None:
    if is_plain(encoded):
        return
    try:
        text = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"The {part} is not UTF-8.") from error
    if "\0" in text:
        raise MalformedRequest(f"The {part} holds U+0000.")
