"""Favorites as CSV (RFC 4180), for spreadsheets."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from fastapi.responses import StreamingResponse

from app.domain.favorite import FavoriteItem, FavoriteQuery, FavoriteStatus
from app.domain.page import Page
from app.infra.http.schema import format_money, format_time

PAGE = 500
"""How many lines are read from storage at once."""

HEADER = (
    "product_id",
    "favorited_at",
    "status",
    "title",
    "price",
    "category",
    "image",
    "price_when_favorited",
)
# The wide forms are the same to spreadsheets of East Asian languages.
_BEGINS_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


class CsvResponse(StreamingResponse):
    """A file of lines, sent while it is made."""

    media_type = "text/csv"


async def stream_csv(
    first: Page[FavoriteItem],
    query: FavoriteQuery,
    read: Callable[[FavoriteQuery], Awaitable[Page[FavoriteItem]]],
) -> AsyncIterator[str]:
    """
    Yield the header and then favorites page by page, the first of which has been read already.

    What was there all the time is there once, whatever is added or removed meanwhile.
    """
    page = first
    yield _lines([HEADER])
    while True:
        yield _lines(_cells(item) for item in page.items)
        if page.next is None:
            return
        page = await read(replace(query, after=page.next))


def _cells(item: FavoriteItem) -> Sequence[str]:
    favorite, snapshot = item.favorite, item.favorite.when_favorited
    pending = item.status is FavoriteStatus.PENDING
    product = None if item.cached is None or pending else item.cached.product
    return (
        str(favorite.product_id),
        format_time(favorite.favorited_at),
        item.status.value,
        "" if product is None else neutralized(product.title),
        "" if product is None else format_money(product.price),
        "" if product is None else neutralized(product.category),
        "" if product is None else neutralized(product.image),
        "" if snapshot is None else format_money(snapshot.price),
    )


def neutralized(text: str) -> str:
    """Return text that no spreadsheet takes for a formula (CWE-1236)."""
    return f"'{text}" if text.startswith(_BEGINS_FORMULA) else text


def _lines(rows: Iterable[Sequence[str]]) -> str:
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    return written.getvalue()
