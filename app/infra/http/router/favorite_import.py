"""The import of favorites, and its report."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import ConfigDict, Field

from app.application.favorites.change_favorites import ChangeFavorites
from app.domain.customer import CustomerId
from app.domain.favorite import BatchResult
from app.domain.product import ProductId
from app.infra.http.router.favorite_lines import Line
from app.infra.http.schema import Out

_PER_TRANSACTION = 50


async def import_products(
    change: ChangeFavorites,
    customer_id: CustomerId,
    lines: Sequence[Line],
    *,
    dry_run: bool,
) -> Mapping[ProductId, BatchResult]:
    """
    Add the products of the lines without a fault, and return the result for each.

    One transaction adds only some of them, so that it does not hold its locks for the whole file.
    A dry run locks nothing and covers the whole file, so that the limits apply to all lines.

    :raises CustomerNotFound: if there is no such customer
    """
    add = [line.product_id for line in lines if line.product_id and line.fault is None]
    # At least one call, which checks that the customer exists.
    total = max(len(add), 1)
    size = total if dry_run else _PER_TRANSACTION
    results: dict[ProductId, BatchResult] = {}
    for start in range(0, total, size):
        part = add[start : start + size]
        results |= await change(customer_id=customer_id, add=part, remove=(), dry_run=dry_run)
    return results


class LineErrorOut(Out):
    """The fault of a line."""

    code: Annotated[
        str,
        Field(description="`product_id`, `cells`, `quotes` or `duplicate`."),
    ]
    detail: str


class ImportItemOut(Out):
    """The `result` or the `error` of one line."""

    line: Annotated[
        int,
        Field(
            description="Counted from 1, including the header; in JSON the position in the list."
        ),
    ]
    product_id: Annotated[int | None, Field(exclude_if=lambda value: value is None)] = None
    result: Annotated[BatchResult | None, Field(exclude_if=lambda value: value is None)] = None
    error: Annotated[LineErrorOut | None, Field(exclude_if=lambda value: value is None)] = None


class ImportSummaryOut(Out):
    """The number of lines, and of lines with each result."""

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
    dry_run: Annotated[bool, Field(description="Whether nothing was changed.")]
    summary: ImportSummaryOut

    @classmethod
    def of(
        cls, lines: Sequence[Line], results: Mapping[ProductId, BatchResult], *, dry_run: bool
    ) -> Self:
        """Create the report from the lines and the results of the products."""
        items = [_item(line, results) for line in lines]
        outcomes = [item.result for item in items]
        return cls(
            items=items,
            dry_run=dry_run,
            summary=ImportSummaryOut(
                lines=len(items),
                errors=outcomes.count(None),
                added=outcomes.count(BatchResult.ADDED),
                already_present=outcomes.count(BatchResult.ALREADY_PRESENT),
                pending=outcomes.count(BatchResult.PENDING),
                product_not_found=outcomes.count(BatchResult.PRODUCT_NOT_FOUND),
                favorites_full=outcomes.count(BatchResult.FAVORITES_FULL),
                too_many_pending=outcomes.count(BatchResult.TOO_MANY_PENDING),
            ),
        )


def _item(line: Line, results: Mapping[ProductId, BatchResult]) -> ImportItemOut:
    if line.fault is not None or line.product_id is None:
        error = LineErrorOut.model_validate(line.fault)
        return ImportItemOut(line=line.number, product_id=line.product_id, error=error)
    return ImportItemOut(
        line=line.number, product_id=line.product_id, result=results[line.product_id]
    )
