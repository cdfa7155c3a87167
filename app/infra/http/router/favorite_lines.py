"""Parsing of imported files, line by line; a line that is not valid is skipped."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic_core import PydanticCustomError

from app.domain.product import ProductId
from app.infra.http.problem import (
    MalformedBody,
    UnsupportedMediaType,
    ValidationFailed,
    pointer,
)
from app.infra.http.router.favorite_csv import HEADER
from app.infra.http.schema import PRODUCT_ID_SCHEMA, parse_product_id
from app.infra.http.strict_json import declared_media_type

LINES_MAX = 1_000
_COLUMN = HEADER[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The reason why a line is not valid; `code` is for programs."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    A line of a file or an entry of a list, counted from 1.

    A record that spans several lines has the number of the first. One with a fault is skipped.
    """

    number: int
    product_id: ProductId | None = None
    fault: Fault | None = None


async def imported_lines(request: Request) -> Sequence[Line]:
    """
    Return the lines of a body.

    :raises UnsupportedMediaType: if it is not declared as CSV or JSON in UTF-8
    :raises MalformedBody: if it is not of the declared type
    :raises ValidationFailed: if it has no column of products, too many lines, or U+0000
    """
    match declared_media_type(request):
        case "text/csv":
            lines = list(_csv_lines(await request.body()))
        case "application/json":
            lines = list(_json_lines(await request.json()))
        case _:
            raise UnsupportedMediaType(
                "The body has to be sent as `Content-Type: text/csv` or `application/json`."
            )
    if len(lines) > LINES_MAX:
        raise _refusal("too_long", f"At most {LINES_MAX} lines can be imported at once.")
    return list(_mark_duplicates(lines))


ImportedLines = Annotated[Sequence[Line], Depends(imported_lines)]


def _csv_lines(body: bytes) -> Iterator[Line]:
    try:
        # Spreadsheets add a byte order mark.
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedBody("The body is not text in UTF-8.") from error
    if "\0" in text:
        raise _refusal("string_nul", "Text must not contain U+0000.")
    records = _records(text)
    _, header = next(records, (1, []))
    names = [] if isinstance(header, Fault) else [name.strip() for name in header]
    if names.count(_COLUMN) != 1:
        raise _refusal(
            "header",
            f"The first line has to name the columns, with `{_COLUMN}` exactly once.",
        )
    at = names.index(_COLUMN)
    for number, record in records:
        if isinstance(record, Fault):
            yield Line(number=number, fault=record)
        elif len(record) != len(names):
            fault = Fault(code="cells", detail="The number of cells differs from the header.")
            yield Line(number=number, fault=fault)
        else:
            yield _line(number, record[at])


def _records(text: str) -> Iterator[tuple[int, list[str] | Fault]]:
    """Yield the records that are not empty, with the number of the first line of each."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield number, Fault(code="quotes", detail="The quotes do not conform to RFC 4180.")
        else:
            if record:
                yield number, record


def _json_lines(parsed: Any) -> Iterator[Line]:
    entries = parsed.get("product_ids") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise _refusal("list_type", "This has to be an array of product ids.", "product_ids")
    for name in parsed:
        if name != "product_ids":
            raise _refusal("extra_forbidden", "This operation has no such member.", name)
    for number, entry in enumerate(entries, start=1):
        plain = isinstance(entry, int) and not isinstance(entry, bool)
        yield _line(number, str(entry) if plain else "")


def _line(number: int, text: str) -> Line:
    try:
        return Line(number=number, product_id=parse_product_id(text))
    except PydanticCustomError as error:
        return Line(number=number, fault=Fault(code=error.type, detail=error.message()))


def _mark_duplicates(lines: Sequence[Line]) -> Iterator[Line]:
    first: dict[ProductId, int] = {}
    for line in lines:
        if line.product_id is None or line.product_id not in first:
            if line.product_id is not None:
                first[line.product_id] = line.number
            yield line
        else:
            detail = f"Line {first[line.product_id]} already contains this product."
            fault = Fault(code="duplicate", detail=detail)
            yield Line(number=line.number, product_id=line.product_id, fault=fault)


def _refusal(code: str, detail: str, *at: str) -> ValidationFailed:
    return ValidationFailed([{"pointer": pointer(*at), "detail": detail, "code": code}])


_EXAMPLE = [5, 7]
IMPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"At most {LINES_MAX} lines.",
        "content": {
            "text/csv": {
                "schema": {
                    "type": "string",
                    "description": f"A header line that contains `{_COLUMN}`, and one line for "
                    "each product. An export is accepted unchanged.",
                },
                "example": f"{_COLUMN}\r\n" + "".join(f"{each}\r\n" for each in _EXAMPLE),
            },
            "application/json": {
                "schema": {
                    "title": "ImportFavorites",
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["product_ids"],
                    "properties": {
                        "product_ids": {
                            "type": "array",
                            "items": PRODUCT_ID_SCHEMA,
                            "maxItems": LINES_MAX,
                        }
                    },
                },
                "example": {"product_ids": _EXAMPLE},
            },
        },
    }
}
"""For `openapi_extra`: FastAPI does not document bodies with several media types."""
