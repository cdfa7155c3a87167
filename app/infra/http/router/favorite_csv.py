"""Favorites as CSV (RFC 4180), for spreadsheets."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

from fastapi.responses import StreamingResponse

from app.domain.favorite import FavoriteItem, FavoriteQuery, FavoriteStatus
from app.domain.page import Page
from app.domain.queries import Queries
from app.infra.http.schema import format_money, format_time

PAGE = 500
"""The number of lines that one query reads."""

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
# Some spreadsheets also accept the full-width forms.
_FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


class CsvResponse(StreamingResponse):
    """A CSV file, streamed."""

    media_type = "text/csv"


async def stream_csv(
    first: Page[FavoriteItem], query: FavoriteQuery, queries: Queries
) -> AsyncIterator[str]:
    """
    Yield the header, and then the favorites page by page, beginning with the page `first`.

    A favorite that exists during the whole export appears once, even if others change meanwhile.
    """
    page = first
    yield _lines([HEADER])
    while True:
        yield _lines(_cells(item) for item in page.items)
        if page.next is None:
            return
        _, page = await queries.list_favorites(replace(query, after=page.next))


def _cells(item: FavoriteItem) -> Sequence[str]:
    favorite, snapshot = item.favorite, item.favorite.when_favorited
    pending = item.status is FavoriteStatus.PENDING
    product = None if item.cached is None or pending else item.cached.product
    return (
        str(favorite.product_id),
        format_time(favorite.favorited_at),
        item.status.value,
        "" if product is None else neutralize(product.title),
        "" if product is None else format_money(product.price),
        "" if product is None else neutralize(product.category),
        "" if product is None else neutralize(product.image),
        "" if snapshot is None else format_money(snapshot.price),
    )


def neutralize(text: str) -> str:
    """Return the text, changed if a spreadsheet would evaluate it as a formula (CWE-1236)."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _lines(rows: Iterable[Sequence[str]]) -> str:
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    return written.getvalue()
