"""What came back over the wire: a status, and a body that is decoded within bounds."""

import zlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus

import httpx2

from app.application.catalog.catalog_observer import CallOutcome
from app.infra.fakestore.failure import CallFailed

ACCEPTED_ENCODING = "gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the catalog; the body is read for status 200 alone."""

    status: int
    body: bytes = field(repr=False)
    retry_after: timedelta | None


async def read_answer(
    response: httpx2.Response,
    *,
    limit: int,
    parse_retry_after: Callable[[str | None], timedelta | None],
) -> Answer:
    """
    Read a response of at most `limit` bytes after decoding, and never hold more.

    :raises CallFailed: if the body is longer, or broken
    """
    is_ok = response.status_code == HTTPStatus.OK
    return Answer(
        status=response.status_code,
        body=await _read_body(response, limit=limit) if is_ok else b"",
        retry_after=parse_retry_after(response.headers.get("retry-after")),
    )


async def _read_body(response: httpx2.Response, *, limit: int) -> bytes:
    # Decoded here and not by the client, which inflates up to 1 MiB at a time whatever is left
    # of the limit, and takes the beginning of a compressed body for the whole.
    gunzip = _decompressor(response.headers.get("content-encoding", "identity"))
    body = bytearray()
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            room = limit + 1 - len(body)
            body += chunk[:room] if gunzip is None else _inflate(gunzip, chunk, room=room)
            if len(body) > limit:
                raise CallFailed(CallOutcome.TOO_LARGE, f"more than {limit} bytes")
    # No bytes at all are an empty body, whatever encoding it is said to be in.
    if gunzip is not None and response.num_bytes_downloaded and not gunzip.eof:
        raise CallFailed(CallOutcome.GARBAGE, "the compressed body is cut off")
    return bytes(body)


def _decompressor(encoding: str) -> "zlib._Decompress | None":
    match encoding.strip().lower():
        case "" | "identity":
            return None
        # RFC 9110, section 8.4.1.3
        case "gzip" | "x-gzip":
            return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        case _:
            raise CallFailed(CallOutcome.GARBAGE, "a content encoding we did not ask for")


def _inflate(gunzip: "zlib._Decompress", chunk: bytes, *, room: int) -> bytes:
    try:
        inflated = gunzip.decompress(chunk, room)
    except zlib.error as error:
        raise CallFailed(CallOutcome.GARBAGE, "the compressed body is broken") from error
    if gunzip.unused_data:
        raise CallFailed(CallOutcome.GARBAGE, "something follows the compressed body")
    return inflated
