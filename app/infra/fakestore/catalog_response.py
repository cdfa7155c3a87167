"""The response of the catalog: a status, and a body that is decoded up to a size limit."""

import zlib
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

import httpx2

from app.application.catalog.catalog_observer import CallOutcome
from app.infra.fakestore.failure import CallFailed
from app.infra.fakestore.options import CatalogOptions
from app.infra.fakestore.retry_after import parse_retry_after

ACCEPTED_ENCODING = "gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogResponse:
    """A response of the catalog; the body is empty unless the status is 200."""

    status: int
    body: bytes = field(repr=False)
    retry_after: timedelta | None


async def read_response(
    response: httpx2.Response, *, options: CatalogOptions, now: datetime
) -> CatalogResponse:
    """
    Read a response, holding at most `options.max_body_bytes` of the decoded body in memory.

    :raises CallFailed: if the body is larger than that or its encoding is invalid
    """
    body = b""
    if response.status_code == HTTPStatus.OK:
        body = await _read_body(response, limit=options.max_body_bytes)
    return CatalogResponse(
        status=response.status_code,
        body=body,
        retry_after=parse_retry_after(
            response.headers.get("retry-after"),
            now=now,
            at_most=timedelta(seconds=options.retry_after_max_s),
        ),
    )


async def _read_body(response: httpx2.Response, *, limit: int) -> bytes:
    # Not decoded by the client: it inflates up to 1 MiB at a time regardless of our limit, and
    # accepts a truncated compressed body as complete.
    decompressor = _create_decompressor(response.headers.get("content-encoding", "identity"))
    body = bytearray()
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            room = limit + 1 - len(body)
            body += (
                chunk[:room] if decompressor is None else _inflate(decompressor, chunk, room=room)
            )
            if len(body) > limit:
                raise CallFailed(CallOutcome.TOO_LARGE, f"more than {limit} bytes")
    # An empty response is an empty body in any encoding.
    if decompressor is not None and response.num_bytes_downloaded and not decompressor.eof:
        raise CallFailed(CallOutcome.GARBAGE, "the compressed body is truncated")
    return bytes(body)


def _create_decompressor(encoding: str) -> "zlib._Decompress | None":
    match encoding.strip().lower():
        case "" | "identity":
            return None
        # RFC 9110, section 8.4.1.3
        case "gzip" | "x-gzip":
            return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        case _:
            raise CallFailed(CallOutcome.GARBAGE, "unsupported content encoding")


def _inflate(decompressor: "zlib._Decompress", chunk: bytes, *, room: int) -> bytes:
    try:
        inflated = decompressor.decompress(chunk, room)
    except zlib.error as error:
        raise CallFailed(CallOutcome.GARBAGE, "the compressed body is corrupt") from error
    if decompressor.unused_data:
        raise CallFailed(CallOutcome.GARBAGE, "unexpected data after the compressed body")
    return inflated
