"""Taking in files of favorites, and the report of it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import ConfigDict, Field

from app.application.favorites.change_favorites import ChangeFavorites
from app.domain.customer import CustomerId
from app.domain.favorite import BatchResult
from app.domain.product import ProductId
from app.infra.http.router.favorite_lines import Line
from app.infra.http.schema import Out

_AT_ONCE = 50


async def import_products(
    change: ChangeFavorites,
    customer_id: CustomerId,
    lines: Sequence[Line],
    *,
    dry_run: bool,
) -> Mapping[ProductId, BatchResult]:
    """
    Add the products of the lines without a fault, and tell what became of each.

    Some at a time: nobody else who marks one of these products waits for a whole file. A rehearsal
    keeps nobody waiting and is of one piece, so that it tells where the list is full.

    :raises CustomerNotFound: if there is no such customer
    """
    add = [line.product_id for line in lines if line.product_id and line.fault is None]
    # Without any, too, the customer has to be there.
    total = max(len(add), 1)
    at_once = total if dry_run else _AT_ONCE
    results: dict[ProductId, BatchResult] = {}
    for begin in range(0, total, at_once):
        part = add[begin : begin + at_once]
        results |= await change(customer_id=customer_id, add=part, remove=(), dry_run=dry_run)
    return results


class LineErrorOut(Out):
    """Why a line was passed over."""

    code: Annotated[
        str,
        Field(description="`product_id`, `cells`, `quotes` or `duplicate`."),
    ]
    detail: str


class ImportItemOut(Out):
    """What became of one line: a `result` or an `error`."""

    line: Annotated[
        int,
        Field(description="Counted from 1, the header included; in JSON the place in the list."),
    ]
    product_id: Annotated[int | None, Field(exclude_if=lambda value: value is None)] = None
    result: Annotated[BatchResult | None, Field(exclude_if=lambda value: value is None)] = None
    error: Annotated[LineErrorOut | None, Field(exclude_if=lambda value: value is None)] = None


class ImportSummaryOut(Out):
    """How many lines there were, and what became of how many."""

    lines: int
    added: int
    already_present: int
    pending: int
    product_not_found: int
    favorites_full: int
    too_many_pending: int
    errors: int


class ImportOut(Out):
    """The report of an import, line by line."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {"line": 2, "product_id": 5, "result": "added"},
                        {
                            "line": 3,
                            "error": {
                                "code": "product_id",
                                "detail": "A product id is a whole number from 1 to 2147483647.",
                            },
                        },
                    ],
                    "dry_run": False,
                    "summary": {
                        "lines": 2,
                        "added": 1,
                        "already_present": 0,
                        "pending": 0,
                        "product_not_found": 0,
                        "favorites_full": 0,
                        "too_many_pending": 0,
                        "errors": 1,
                    },
                }
            ]
        }
    )

    items: list[ImportItemOut]
    dry_run: Annotated[bool, Field(description="Whether this only tells what would become.")]
    summary: ImportSummaryOut

    @classmethod
    def of(
        cls, lines: Sequence[Line], results: Mapping[ProductId, BatchResult], *, dry_run: bool
    ) -> Self:
        """Report on lines and what became of the products of those without a fault."""
        items = [_item(line, results) for line in lines]
        reached = [item.result for item in items]
        return cls(
            items=items,
            dry_run=dry_run,
            summary=ImportSummaryOut(
                lines=len(items),
                errors=reached.count(None),
                added=reached.count(BatchResult.ADDED),
                already_present=reached.count(BatchResult.ALREADY_PRESENT),
                pending=reached.count(BatchResult.PENDING),
                product_not_found=reached.count(BatchResult.PRODUCT_NOT_FOUND),
                favorites_full=reached.count(BatchResult.FAVORITES_FULL),
                too_many_pending=reached.count(BatchResult.TOO_MANY_PENDING),
            ),
        )


def _item(line: Line, results: Mapping[ProductId, BatchResult]) -> ImportItemOut:
    if line.fault is not None or line.product_id is None:
        error = LineErrorOut.model_validate(line.fault)
        return ImportItemOut(line=line.number, product_id=line.product_id, error=error)
    return ImportItemOut(
        line=line.number, product_id=line.product_id, result=results[line.product_id]
    )
