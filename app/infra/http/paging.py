"""Pages: signed cursors, and the URL of the next page."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.domain.page import DEFAULT_LIMIT, MAX_LIMIT, Position
from app.infra.http.problem import InvalidCursor

T = TypeVar("T")

_VERSION = b"\x01"
_TAG_BYTES = 16


class CursorCodec:
    """
    Make positions opaque, and accept them back only unchanged and where they came from.

    A cursor is base64url of a version, an HMAC-SHA256 cut to 128 bits (RFC 2104, section 5) and
    the position. The tag covers the context, which is not part of the cursor: the operation with
    all its filters and its order. The first key signs, all of them are accepted.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("A key is needed to sign cursors")
        self._keys = tuple(keys)

    def encode(self, position: Position, *, context: str) -> str:
        """Return the cursor that leads to a position."""
        payload = json.dumps(position, separators=(",", ":")).encode()
        tag = self._tag(self._keys[0], payload, context)
        return base64.urlsafe_b64encode(_VERSION + tag + payload).rstrip(b"=").decode()

    def decode(self, cursor: str, *, context: str) -> Position:
        """
        Return the position a cursor leads to.

        :raises InvalidCursor: if it is not ours, was changed, or belongs to another context
        """
        try:
            raw = base64.b64decode(
                cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError) as error:
            raise _refusal() from error
        version, tag, payload = raw[:1], raw[1 : 1 + _TAG_BYTES], raw[1 + _TAG_BYTES :]
        genuine = [
            hmac.compare_digest(tag, self._tag(key, payload, context)) for key in self._keys
        ]
        # One position has one cursor: base64 would tolerate other last characters.
        canonical = base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == cursor
        if version != _VERSION or not any(genuine) or not canonical:
            raise _refusal()
        return tuple(json.loads(payload))

    @staticmethod
    def _tag(key: bytes, payload: bytes, context: str) -> bytes:
        # The context is hashed to a fixed length: where it ends cannot be shifted.
        bound = hashlib.sha256(context.encode()).digest()
        return hmac.digest(key, b"cursor" + _VERSION + bound + payload, "sha256")[:_TAG_BYTES]


def _refusal() -> InvalidCursor:
    return InvalidCursor("Begin again with the first page: leave the cursor out.")


def _parse_limit(text: object) -> object:
    # Pydantic reads more as an int than a plain number: "1_0", "+1", "1.0".
    if isinstance(text, str) and re.fullmatch(r"-?[0-9]{1,10}", text, re.ASCII) is None:
        raise PydanticCustomError("limit", "A limit is a plain whole number.")
    return text


# The bounds come first: applied to a validator instead of a number they would be undocumented.
Limit = Annotated[
    int,
    Field(ge=1, le=MAX_LIMIT),
    BeforeValidator(_parse_limit),
    Query(description="How many items a page has at most."),
]
Cursor = Annotated[
    str | None,
    Query(description="Where the page begins: taken from `next`, never made up."),
]


class PageOut(BaseModel, Generic[T]):
    """A page of a list."""

    items: list[T]
    next: Annotated[
        str | None,
        WithJsonSchema({"type": "string", "format": "uri-reference"}),
        Field(
            exclude_if=lambda value: value is None,
            description="Where the next page is; absent on the last one.",
        ),
    ] = None


class Links:
    """
    Links into one list: its path with the filters as they were sent.

    `name` says which list it is if the path does not: `me` is somebody else for everybody.
    """

    def __init__(
        self,
        codec: CursorCodec,
        *,
        path: str,
        query: Iterable[tuple[str, str]],
        name: str | None = None,
    ) -> None:
        self._codec = codec
        self._path = path
        # Another spelling of a filter is another list.
        self._query = [(name, value) for name, value in query if name != "cursor"]
        filters = sorted(each for each in self._query if each[0] != "limit")
        self._context = json.dumps([path if name is None else name, filters])

    def position(self, cursor: str) -> Position:
        """
        Return where a cursor leads.

        :raises InvalidCursor: if it does not lead into this list
        """
        return self._codec.decode(cursor, context=self._context)

    def url(self, position: Position) -> str:
        """Return where the page begins that comes after a position."""
        cursor = self._codec.encode(position, context=self._context)
        return f"{self._path}?{urlencode([*self._query, ('cursor', cursor)])}"


@dataclass(frozen=True, slots=True)
class Paging:
    """The paging of one request: where its page begins, and what comes after it."""

    limit: int
    after: Position | None
    links: Links

    def next_url(self, position: Position | None) -> str | None:
        """Return the URL of the page that begins after a position; None if there is none."""
        return None if position is None else self.links.url(position)


async def paging(request: Request, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Paging:
    """
    Return the paging of a list.

    :raises InvalidCursor: if the cursor does not belong to it
    """
    links = Links(
        request.app.state.cursors,
        path=request.url.path,
        query=request.query_params.multi_items(),
    )
    return Paging(limit, None if cursor is None else links.position(cursor), links)


PagingIn = Annotated[Paging, Depends(paging)]
