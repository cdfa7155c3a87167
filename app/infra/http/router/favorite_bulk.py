"""Many favorites at once: batches, what changed, files."""

import json
from dataclasses import astuple
from typing import Annotated, Self

from fastapi import Depends, Query, Request
from pydantic import ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from app.application.favorites.change_favorites import ChangeFavorites
from app.application.favorites.list_favorites import ListFavorites
from app.application.favorites.read_favorite_changes import ReadFavoriteChanges
from app.domain.customer import CustomerId
from app.domain.favorite import BatchResult, ChangeKind, ChangePosition, FavoriteQuery
from app.domain.outcome import ChangesForgotten
from app.domain.page import DEFAULT_LIMIT
from app.infra.http.openapi import problems
from app.infra.http.paging import Limit
from app.infra.http.router.favorite_csv import PAGE, CsvResponse, stream_csv
from app.infra.http.router.favorite_import import ImportOut, import_products
from app.infra.http.router.favorite_lines import IMPORT_BODY, ImportedLines
from app.infra.http.router.favorite_request import GUARDED, OwnCustomer, favorites_guard
from app.infra.http.router.favorite_schema import FavoriteOut, StaleCheck
from app.infra.http.schema import FlagIn, In, Out, ProductNumber
from app.infra.http.strict_json import StrictRouter
from app.infra.http.use_cases import use

_BATCH_MAX = 100

router = StrictRouter(
    prefix="/customers/{id}",
    tags=["favorites"],
    dependencies=[Depends(favorites_guard)],
)

Changer = Annotated[ChangeFavorites, Depends(use(lambda all_: all_.change_favorites))]
Products = Annotated[
    list[ProductNumber],
    Field(max_length=_BATCH_MAX, json_schema_extra={"uniqueItems": True}),
]


class ChangeFavoritesIn(In):
    """Which products become favorites and which cease to be: 1 to 100 together, each once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"add": [1, 2], "remove": [3]}]})

    add: Products = Field(default_factory=list)
    remove: Products = Field(default_factory=list)

    @model_validator(mode="after")
    def _together(self) -> Self:
        named = [*self.add, *self.remove]
        if not 1 <= len(named) <= _BATCH_MAX:
            raise PydanticCustomError("length", "Name 1 to 100 products together.")
        if len({*named}) != len(named):
            raise PydanticCustomError("duplicate", "Name each product once.")
        return self


class ChangedFavoriteOut(Out):
    """What became of one product."""

    product_id: int
    result: BatchResult


class ChangedFavoritesOut(Out):
    """What became of each product, in the order asked: those to add, then those to remove."""

    items: list[ChangedFavoriteOut]


@router.post("/favorites/batch", summary="Add and remove favorites", responses=problems(*GUARDED))
async def change_favorites(
    customer_id: OwnCustomer, body: ChangeFavoritesIn, use_case: Changer
) -> ChangedFavoritesOut:
    """
    Change up to 100 favorites in one transaction.

    Products that cannot be added do not spoil the others: their `result` tells why.
    """
    results = await use_case(customer_id=customer_id, add=body.add, remove=body.remove)
    return ChangedFavoritesOut(
        items=[
            ChangedFavoriteOut(product_id=product_id, result=results[product_id])
            for product_id in (*body.add, *body.remove)
        ]
    )


class FavoriteChangeOut(Out):
    """What became of one favorite."""

    product_id: int
    change: Annotated[
        ChangeKind,
        Field(
            description="`changed`: it has another state. A client may take `added` and `changed` "
            "alike: what it holds of the product is replaced by `favorite`."
        ),
    ]
    favorite: Annotated[
        FavoriteOut | None, Field(description="How it is now; null if it was removed.")
    ]


class FavoriteChangesOut(Out):
    """What became of favorites, each once: as it is now."""

    items: list[FavoriteChangeOut]
    cursor: Annotated[str, Field(description="To be sent as `since` next time.")]
    more: Annotated[bool, Field(description="Whether there is more already.")]
    next: Annotated[
        str | None,
        WithJsonSchema({"type": "string", "format": "uri-reference"}),
        Field(
            exclude_if=lambda value: value is None,
            description="Where more is; absent if there is none yet.",
        ),
    ] = None


class ChangeCursors:
    """Cursors into the history of one customer's favorites, whatever path leads there."""

    def __init__(self, request: Request, customer_id: CustomerId) -> None:
        self._codec = request.app.state.cursors
        self._context = json.dumps(["favorite changes", str(customer_id)])

    def position(self, cursor: str) -> ChangePosition:
        """
        Return what a cursor has seen.

        :raises InvalidCursor: if it is not one of this customer's
        """
        return ChangePosition(*map(int, self._codec.decode(cursor, context=self._context)))

    def cursor(self, seen: ChangePosition) -> str:
        """Return the cursor that goes on from a position."""
        position = tuple(str(part) for part in astuple(seen))
        return str(self._codec.encode(position, context=self._context))


async def change_cursors(request: Request, customer_id: OwnCustomer) -> ChangeCursors:
    """Return what reads and writes the cursors of this customer's history."""
    return ChangeCursors(request, customer_id)


CursorsIn = Annotated[ChangeCursors, Depends(change_cursors)]


async def seen_before(
    cursors: CursorsIn,
    since: Annotated[
        str | None,
        Query(description="The `cursor` of an earlier answer; without it, all favorites come."),
    ] = None,
) -> ChangePosition:
    """Return what the client has seen."""
    return ChangePosition() if since is None else cursors.position(since)


@router.get(
    "/favorites/changes",
    summary="Catch up with changes of the favorites",
    responses=problems(*GUARDED, ChangesForgotten),
)
async def read_favorite_changes(
    request: Request,
    customer_id: OwnCustomer,
    since: Annotated[ChangePosition, Depends(seen_before)],
    cursors: CursorsIn,
    stale: StaleCheck,
    use_case: Annotated[
        ReadFavoriteChanges, Depends(use(lambda all_: all_.read_favorite_changes))
    ],
    limit: Limit = DEFAULT_LIMIT,
) -> FavoriteChangesOut:
    """
    Get what was added, removed or got another state since the client last asked.

    Keep `cursor` and send it as `since` next time. While there is `more`, follow `next`. A cursor
    that is too old is answered 410: begin anew at `start_over`.
    """
    changes = await use_case(customer_id=customer_id, since=since, limit=limit)
    cursor = cursors.cursor(changes.seen)
    return FavoriteChangesOut(
        items=[
            FavoriteChangeOut(
                product_id=change.product_id,
                change=change.kind,
                favorite=None if change.item is None else FavoriteOut.of(change.item, stale=stale),
            )
            for change in changes.items
        ],
        cursor=cursor,
        more=changes.more,
        next=f"{request.url.path}?since={cursor}&limit={limit}" if changes.more else None,
    )


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
                    "description": "RFC 6266: a file to be saved",
                }
            }
        },
    },
)
async def export_favorites(
    customer_id: OwnCustomer,
    use_case: Annotated[ListFavorites, Depends(use(lambda all_: all_.list_favorites))],
) -> CsvResponse:
    """
    Get all favorites as a file for spreadsheets (RFC 4180, UTF-8), newest first.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    query = FavoriteQuery(customer_id=customer_id, limit=PAGE)
    # Read before the answer begins, so that what goes wrong can still be told.
    first = await use_case(query)
    return CsvResponse(
        stream_csv(first, query, use_case),
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
        FlagIn, Query(description="Only tell what would become of each line.")
    ] = False,
) -> ImportOut:
    """
    Add the products of a file to the favorites.

    A line that cannot be read, or whose product cannot be added, spoils no other: see the report.
    After a failure in between (503) send the file again: what was added is there already.
    """
    results = await import_products(use_case, customer_id, lines, dry_run=dry_run)
    return ImportOut.of(lines, results, dry_run=dry_run)
