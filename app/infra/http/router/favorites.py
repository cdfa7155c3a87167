"""The favorites of a customer."""

from typing import Annotated, Any

from fastapi import Path, Query, Response, status
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.application.favorites.favorite_product import FavoriteAdded
from app.domain.access import Scope
from app.domain.favorite import FavoriteQuery, FavoriteSort, FavoriteStatus
from app.domain.outcome import (
    CustomerNotFound,
    CustomerOnly,
    FavoriteNotFound,
    FavoritesFull,
    InsufficientScope,
    ProductNotFound,
    TooManyPending,
)
from app.domain.product import ProductId
from app.infra.http.access import CustomerAccess
from app.infra.http.conditional import IfNoneMatch, ListTags, validator_fields
from app.infra.http.openapi import TAGGED, problems
from app.infra.http.paging import LimitIn, Links, PageIn, PageOut
from app.infra.http.route import Call, Reply, Router
from app.infra.http.router.customer_schema import CustomerOut
from app.infra.http.router.favorite_schema import ContainsOut, FavoriteOut, ProfileOut
from app.infra.http.schema import PRODUCT_ID_SCHEMA, ProductIdIn, Text, parse_product_id

CONTAINS_MAX = 100

FAVORITES = CustomerAccess(read=Scope.FAVORITES_READ, write=Scope.FAVORITES_WRITE)
GUARDED = (CustomerNotFound, InsufficientScope, CustomerOnly)
"""The outcomes of the access."""

router = Router(prefix="/customers/{id}", tags=["favorites"], access=FAVORITES)

ProductPath = Annotated[ProductIdIn, Path(description="A product's id in the catalog.")]


class FavoritesIn(PageIn):
    """The filters and the order of a list of favorites."""

    category: Annotated[Text | None, Field(max_length=200)] = None
    q: Annotated[
        Text | None, Field(max_length=200, description="A part of the title; case-insensitive.")
    ] = None
    sort: FavoriteSort = FavoriteSort.NEWEST


@router.get(
    "/favorites",
    response_model=PageOut[FavoriteOut],
    summary="List favorites",
    responses={**problems(*GUARDED), **TAGGED},
)
async def list_favorites(call: Call, query: Annotated[FavoritesIn, Query()]) -> Reply:
    """
    Get a page of favorites with their products.

    Products are the last known copies, so the list is available while the catalog is not.
    """
    links = favorites_links(call, path=call.scope["path"], query=call.query_pairs)
    condition, tags = IfNoneMatch.of(call.scope), ListTags(call.scope, call.customer_id)
    version, page = await call.use_cases.list_favorites(
        FavoriteQuery(
            customer_id=call.customer_id,
            category=query.category,
            q=query.q,
            sort=query.sort,
            limit=query.limit,
            after=links.position(query.cursor),
        ),
        session=call.session_check,
        held=tags.held(condition),
    )
    tag = tags.tag(version)
    if page is None or (condition is not None and condition.met_by(tag)):
        return Reply(status.HTTP_304_NOT_MODIFIED, validator_fields(tag))
    body = call.json_writer.favorites(
        page.items, now=call.use_cases.clock(), next_url=links.next_url(page.next)
    )
    return Reply(fields=validator_fields(tag), body=body)


def favorites_links(call: Call, *, path: str, query: Any) -> Links:
    """Return the links of a customer's list; cursors are the same for `me` and the UUID."""
    return Links(
        call.app.state.cursors,
        path=path,
        query=query,
        name=lambda: f"/customers/{call.customer_id}/favorites",
    )


def tagged(call: Call, tag: str, body: str) -> Reply:
    """Return the response with a tag; 304 if the client has it already."""
    condition = IfNoneMatch.of(call.scope)
    if condition is not None and condition.met_by(tag):
        return Reply(status.HTTP_304_NOT_MODIFIED, validator_fields(tag))
    return Reply(fields=validator_fields(tag), body=body)


def parse_product_ids(text: str) -> tuple[ProductId, ...]:
    """
    Parse product ids that are separated by commas.

    :raises PydanticCustomError: if one is not a product id, or there are more than 100
    """
    parts = text.split(",", CONTAINS_MAX)
    if len(parts) > CONTAINS_MAX:
        raise PydanticCustomError("too_long", "At most 100 product ids are allowed.")
    return tuple([parse_product_id(part) for part in parts])


class ContainsIn(BaseModel):
    """The products to check."""

    # Not a tuple by type: FastAPI would take only repeated parameters for one.
    product_ids: Annotated[
        Any,
        BeforeValidator(parse_product_ids),
        WithJsonSchema(
            {
                "type": "array",
                "items": PRODUCT_ID_SCHEMA,
                "minItems": 1,
                "maxItems": CONTAINS_MAX,
                "examples": [[1, 2, 3]],
            }
        ),
        Field(description="At most 100 ids, separated by commas."),
    ]


@router.get(
    "/favorites/contains",
    response_model=ContainsOut,
    summary="Check which products are favorites",
    responses={**problems(*GUARDED), **TAGGED},
)
async def contains_favorites(call: Call, query: Annotated[ContainsIn, Query()]) -> Reply:
    """Check up to 100 products in one request, such as the products on one screen."""
    product_ids: tuple[ProductId, ...] = query.product_ids
    version, found = await call.use_cases.queries.contains(
        call.customer_id, product_ids, session=call.session_check
    )
    items = ",".join(
        [
            f'"{each}":true' if each in found else f'"{each}":false'
            for each in dict.fromkeys(product_ids)
        ]
    )
    tag = ListTags(call.scope, call.customer_id).tag(version)
    return tagged(call, tag, f'{{"items":{{{items}}}}}')


@router.get(
    "/favorites/{product_id:product}",
    response_model=FavoriteOut,
    summary="Read a favorite",
    responses={**problems(*GUARDED, FavoriteNotFound), **TAGGED},
)
async def read_favorite(call: Call, product_id: ProductPath) -> Reply:
    """Get one favorite with the last known copy of its product."""
    version, item = await call.use_cases.read_favorite(
        customer_id=call.customer_id, product_id=product_id, session=call.session_check
    )
    tag = ListTags(call.scope, call.customer_id).tag(version)
    return tagged(call, tag, call.json_writer.favorite(item, now=call.use_cases.clock()))


_FAVORITED: dict[int | str, dict[str, Any]] = {
    **problems(*GUARDED, ProductNotFound, TooManyPending, FavoritesFull),
    200: {"model": FavoriteOut, "description": "The product was a favorite already"},
    201: {"model": FavoriteOut, "description": "The product was added"},
    202: {
        "model": FavoriteOut,
        "description": "The product was added, and waits for confirmation by the catalog",
    },
}


@router.put(
    "/favorites/{product_id:product}",
    operation_id="favorite_product",
    response_model=FavoriteOut,
    status_code=status.HTTP_201_CREATED,
    summary="Add a favorite",
    responses=_FAVORITED,
)
@router.post(
    "/favorites/{product_id:product}",
    operation_id="favorite_product_by_post",
    response_model=FavoriteOut,
    status_code=status.HTTP_201_CREATED,
    summary="Add a favorite",
    responses=_FAVORITED,
)
async def favorite_product(call: Call, product_id: ProductPath) -> Reply:
    """
    Add a product to the favorites. Repeating the request changes nothing, with status 200.

    If the product is not known yet and the catalog is unavailable, the favorite is accepted with
    202 and confirmed later.
    """
    added = await call.use_cases.favorite_product(
        customer_id=call.customer_id, product_id=product_id, session=call.session_check
    )
    location = f"/customers/{call.customer_id}/favorites/{product_id}"
    return Reply(
        _status_of(added),
        [(b"location", location.encode())],
        call.json_writer.favorite(added.item, now=call.use_cases.clock()),
    )


def _status_of(added: FavoriteAdded) -> int:
    if added.item.status is FavoriteStatus.PENDING:
        return status.HTTP_202_ACCEPTED
    return status.HTTP_201_CREATED if added.created else status.HTTP_200_OK


@router.delete(
    "/favorites/{product_id:product}",
    response_model=None,
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="Remove a favorite",
    responses=problems(*GUARDED),
)
async def remove_favorite(call: Call, product_id: ProductPath) -> Reply:
    """Remove a product from the favorites. Removing one that is not a favorite is no error."""
    await call.use_cases.remove_favorite(
        customer_id=call.customer_id, product_id=product_id, session=call.session_check
    )
    return Reply(status.HTTP_204_NO_CONTENT)


@router.post(
    "/favorites/{product_id:product}/restore",
    response_model=FavoriteOut,
    summary="Restore a removed favorite",
    responses=problems(*GUARDED, FavoriteNotFound, FavoritesFull),
)
async def restore_favorite(call: Call, product_id: ProductPath) -> Reply:
    """
    Undo a removal within ten minutes. The favorite has its original time and position.

    A favorite that was not removed stays unchanged.
    """
    await call.check_session()
    item = await call.use_cases.restore_favorite(
        customer_id=call.customer_id, product_id=product_id
    )
    return Reply(body=call.json_writer.favorite(item, now=call.use_cases.clock()))


@router.get(
    "/profile",
    response_model=ProfileOut,
    summary="Read a customer with their favorites",
    responses={**problems(*GUARDED), **TAGGED},
)
async def read_profile(call: Call, query: Annotated[LimitIn, Query()]) -> Reply:
    """Get a customer and the newest favorites; `next` is the next page of the favorites."""
    customer, version, page = await call.use_cases.read_profile(
        customer_id=call.customer_id, limit=query.limit, session=call.session_check
    )
    tag = ListTags(call.scope, call.customer_id).tag(version, customer.version)
    links = favorites_links(
        call,
        path=f"{call.scope['path'].rpartition('/')[0]}/favorites",
        query=[("limit", str(query.limit))],
    )
    favorites = call.json_writer.favorites(
        page.items, now=call.use_cases.clock(), next_url=links.next_url(page.next)
    )
    written = CustomerOut.model_validate(customer).model_dump_json()
    return tagged(call, tag, f'{{"customer":{written},"favorites":{favorites}}}')
