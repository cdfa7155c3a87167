"""Paging: signed cursors, and the URL of the next page."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Annotated, Generic, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.domain.page import DEFAULT_LIMIT, MAX_LIMIT, Position
from app.infra.http.problem import InvalidCursor

T = TypeVar("T")

_VERSION = b"\x01"
_TAG_BYTES = 16


class CursorCodec:
    """
    Turns positions into opaque cursors, and accepts them only unchanged and for the same list.

    A cursor is base64url of a version, an HMAC-SHA256 cut to 128 bits (RFC 2104, section 5) and
    the position. The tag covers the context, which is not part of the cursor: the list with its
    filters and its order. The first key signs, all of them are accepted.
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
    # Pydantic accepts more than a plain number as an int: "1_0", "+1", "1.0".
    if isinstance(text, str) and re.fullmatch(r"-?[0-9]{1,10}", text, re.ASCII) is None:
        raise PydanticCustomError("limit", "A limit is a plain whole number.")
    return text


# The bounds come first: applied to a validator instead of a number they would be undocumented.
Limit = Annotated[
    int,
    Field(ge=1, le=MAX_LIMIT, description="How many items a page has at most."),
    BeforeValidator(_parse_limit),
]


class LimitIn(BaseModel):
    """The size of a page."""

    limit: Limit = DEFAULT_LIMIT


class PageIn(LimitIn):
    """Which page of a list is requested."""

    cursor: Annotated[
        str | None,
        Field(description="Where the page begins: taken from `next`, never made up."),
    ] = None


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
    The cursors of one list, and the URL of its next page with the filters as they were sent.

    `name` identifies the list if the path does not: `me` depends on the caller.
    """

    def __init__(
        self,
        codec: CursorCodec,
        *,
        path: str,
        query: Iterable[tuple[str, str]],
        name: Callable[[], str] | None = None,
    ) -> None:
        self._codec = codec
        self._path = path
        self._query = query
        self._name = name

    def position(self, cursor: str | None) -> Position | None:
        """
        Return where a cursor leads; None is the beginning.

        :raises InvalidCursor: if it does not belong to this list
        """
        return None if cursor is None else self._codec.decode(cursor, context=self._context)

    def next_url(self, position: Position | None) -> str | None:
        """Return the URL of the page that begins after a position; None if there is none."""
        if position is None:
            return None
        cursor = self._codec.encode(position, context=self._context)
        return f"{self._path}?{urlencode([*self._kept_query, ('cursor', cursor)])}"

    @property
    def _kept_query(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self._query if name != "cursor"]

    @cached_property
    def _context(self) -> str:
        # Another spelling of a filter is another list. Most lists fit on one page and need no
        # context.
        filters = sorted(each for each in self._kept_query if each[0] != "limit")
        return json.dumps([self._path if self._name is None else self._name(), filters])
