"""Several favorites in one request: batches, changes and files."""

import json
from dataclasses import astuple
from typing import Annotated, Self

from fastapi import Depends, Query
from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.application.favorites.change_favorites import ChangeFavorites
from app.domain.customer import CustomerId
from app.domain.favorite import ChangePosition, FavoriteQuery
from app.domain.outcome import ChangesForgotten
from app.domain.queries import Queries
from app.infra.http.openapi import problems
from app.infra.http.paging import CursorCodec, LimitIn
from app.infra.http.route import Call, Reply, Router, use
from app.infra.http.router.favorite_csv import PAGE, CsvResponse, stream_csv
from app.infra.http.router.favorite_import import ImportOut, import_products
from app.infra.http.router.favorite_lines import IMPORT_BODY, ImportedLines
from app.infra.http.router.favorite_schema import (
    ChangedFavoriteOut,
    ChangedFavoritesOut,
    FavoriteChangesOut,
)
from app.infra.http.router.favorites import FAVORITES, GUARDED
from app.infra.http.schema import FlagIn, In, ProductNumber

_BATCH_MAX = 100

router = Router(prefix="/customers/{id}", tags=["favorites"], access=FAVORITES)

OwnCustomer = Annotated[CustomerId, Depends(FAVORITES.customer)]

Changer = Annotated[ChangeFavorites, Depends(use(lambda all_: all_.change_favorites))]
Products = Annotated[
    list[ProductNumber],
    Field(max_length=_BATCH_MAX, json_schema_extra={"uniqueItems": True}),
]


class ChangeFavoritesIn(In):
    """The products to add and to remove: 1 to 100 in total, each at most once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"add": [1, 2], "remove": [3]}]})

    add: Products = Field(default_factory=list)
    remove: Products = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_all(self) -> Self:
        named = [*self.add, *self.remove]
        if not 1 <= len(named) <= _BATCH_MAX:
            raise PydanticCustomError("length", "The request has to name 1 to 100 products.")
        if len({*named}) != len(named):
            raise PydanticCustomError("duplicate", "A product may be named only once.")
        return self


@router.post("/favorites/batch", summary="Add and remove favorites", responses=problems(*GUARDED))
async def change_favorites(
    customer_id: OwnCustomer, body: ChangeFavoritesIn, use_case: Changer
) -> ChangedFavoritesOut:
    """
    Change up to 100 favorites in one transaction.

    Products that cannot be added do not affect the others: their `result` is the reason.
    """
    results = await use_case(customer_id=customer_id, add=body.add, remove=body.remove)
    return ChangedFavoritesOut(
        items=[
            ChangedFavoriteOut(product_id=product_id, result=results[product_id])
            for product_id in (*body.add, *body.remove)
        ]
    )


class ChangesIn(LimitIn):
    """The position after which changes are requested."""

    since: Annotated[
        str | None,
        Field(description="The `cursor` of an earlier response; without it, get all favorites."),
    ] = None


@router.get(
    "/favorites/changes",
    response_model=FavoriteChangesOut,
    summary="Read the changes of favorites",
    responses=problems(*GUARDED, ChangesForgotten),
)
async def read_favorite_changes(call: Call, query: Annotated[ChangesIn, Query()]) -> Reply:
    """
    Get the favorites that were added, removed or changed since an earlier request.

    Store `cursor`, and send it as `since` with the next request. While `more` is true, follow
    `next`. If the cursor is too old, the status is 410: start over at `start_over`.
    """
    cursors = ChangeCursors(call)
    changes = await call.use_cases.read_favorite_changes(
        customer_id=call.customer_id,
        since=cursors.position(query.since),
        limit=query.limit,
        session=call.session_check,
    )
    cursor = cursors.cursor(changes.seen)
    path = call.scope["path"]
    body = call.json_writer.changes(
        changes,
        now=call.use_cases.clock(),
        cursor=cursor,
        next_url=f"{path}?since={cursor}&limit={query.limit}" if changes.more else None,
    )
    return Reply(body=body)


class ChangeCursors:
    """Cursors into the history of a customer's favorites; the same for `me` and the UUID."""

    def __init__(self, call: Call) -> None:
        self._codec: CursorCodec = call.app.state.cursors
        self._context = json.dumps(["favorite changes", str(call.customer_id)])

    def position(self, cursor: str | None) -> ChangePosition:
        """
        Return the position of a cursor; without one, the beginning.

        :raises InvalidCursor: if it is not a cursor of this customer
        """
        if cursor is None:
            return ChangePosition()
        position = self._codec.decode(cursor, context=self._context)
        return ChangePosition(*(int(part or 0) for part in position))

    def cursor(self, seen: ChangePosition) -> str:
        """Return the cursor of a position."""
        position = tuple(str(part) for part in astuple(seen))
        return self._codec.encode(position, context=self._context)


@router.get(
    "/favorites.csv",
    response_class=CsvResponse,
    summary="Export favorites as CSV",
    responses={
        **problems(*GUARDED),
        200: {
            "headers": {
                "Content-Disposition": {
                    "schema": {"type": "string"},
                    "description": "RFC 6266: a file to save",
                }
            }
        },
    },
)
async def export_favorites(
    customer_id: OwnCustomer,
    queries: Annotated[Queries, Depends(use(lambda all_: all_.queries))],
) -> CsvResponse:
    """
    Get all favorites as a CSV file for spreadsheets (RFC 4180, UTF-8), newest first.

    Text that a spreadsheet would evaluate as a formula is preceded by an apostrophe.
    """
    query = FavoriteQuery(customer_id=customer_id, limit=PAGE)
    # Read the first page before the response starts, so that a failure has its own response.
    _, first = await queries.list_favorites(query)
    return CsvResponse(
        stream_csv(first, query, queries),
        headers={"Content-Disposition": 'attachment; filename="favorites.csv"'},
    )


@router.post(
    "/favorites/import",
    summary="Import favorites",
    responses=problems(*GUARDED),
    openapi_extra=IMPORT_BODY,
)
async def import_favorites(
    customer_id: OwnCustomer,
    lines: ImportedLines,
    use_case: Changer,
    dry_run: Annotated[
        FlagIn, Query(description="Return the report without changing anything.")
    ] = False,
) -> ImportOut:
    """
    Add the products of a file to the favorites.

    A line that is not valid, or whose product cannot be added, does not affect the others: see the
    report. After a failure (503), send the file again: added products are reported as present.
    """
    results = await import_products(use_case, customer_id, lines, dry_run=dry_run)
    return ImportOut.of(lines, results, dry_run=dry_run)
