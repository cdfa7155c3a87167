"""Products that a customer marked."""

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Query, Request, Response, status
from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.application.favorites.contains_favorites import ContainsFavorites
from app.application.favorites.favorite_product import Favorited, FavoriteProduct
from app.application.favorites.list_favorites import ListFavorites
from app.application.favorites.read_favorite import ReadFavorite
from app.application.favorites.read_profile import ReadProfile
from app.application.favorites.remove_favorite import RemoveFavorite
from app.application.favorites.restore_favorite import RestoreFavorite
from app.domain.favorite import FavoriteQuery, FavoriteSort, FavoriteStatus
from app.domain.outcome import FavoriteNotFound, FavoritesFull, ProductNotFound, TooManyPending
from app.domain.product import ProductId
from app.infra.http.openapi import TAGGED, problems
from app.infra.http.paging import PageOut
from app.infra.http.router.customer_schema import CustomerOut
from app.infra.http.router.favorite_request import (
    GUARDED,
    FavoritesPagingIn,
    FirstPageIn,
    ListRevalidation,
    OwnCustomer,
    ProductPath,
    ProfileRevalidation,
    favorites_guard,
)
from app.infra.http.router.favorite_schema import ContainsOut, FavoriteOut, StaleCheck
from app.infra.http.schema import PRODUCT_ID_SCHEMA, Out, Text, parse_product_id
from app.infra.http.strict_json import StrictRouter
from app.infra.http.use_cases import use

_CONTAINS_MAX = 100

_WORDS = {"batch", "changes", "contains", "import"}


async def refuse_words(request: Request) -> None:
    """
    Refuse a method that a path of its own does not know, though it reads as `{product_id}`.

    :raises HTTPException: with 405, if the id is the last word of another path
    """
    if request.path_params.get("product_id") in _WORDS:
        raise HTTPException(status.HTTP_405_METHOD_NOT_ALLOWED)


router = StrictRouter(
    prefix="/customers/{id}",
    tags=["favorites"],
    dependencies=[Depends(favorites_guard), Depends(refuse_words)],
)


async def favorite_query(
    paging: FavoritesPagingIn,
    customer_id: OwnCustomer,
    category: Annotated[Text | None, Query(max_length=200)] = None,
    q: Annotated[
        Text | None, Query(max_length=200, description="Part of a title, case aside.")
    ] = None,
    sort: Annotated[FavoriteSort, Query()] = FavoriteSort.NEWEST,
) -> FavoriteQuery:
    """Return which favorites are asked for."""
    return FavoriteQuery(
        customer_id=customer_id,
        category=category,
        q=q,
        sort=sort,
        limit=paging.limit,
        after=paging.after,
    )


class ProfileOut(Out):
    """A customer with the first page of their favorites."""

    customer: CustomerOut
    favorites: PageOut[FavoriteOut]


@router.get(
    "/favorites",
    response_model=PageOut[FavoriteOut],
    summary="List favorites",
    responses={**problems(*GUARDED), **TAGGED},
)
async def list_favorites(
    query: Annotated[FavoriteQuery, Depends(favorite_query)],
    paging: FavoritesPagingIn,
    stale: StaleCheck,
    use_case: Annotated[ListFavorites, Depends(use(lambda all_: all_.list_favorites))],
    revalidation: ListRevalidation,
) -> PageOut[FavoriteOut] | Response:
    """
    Get a page of favorites with their products.

    Products are the last known copies: the list works while the catalog does not.
    """

    async def page() -> PageOut[FavoriteOut]:
        found = await use_case(query)
        return PageOut(
            items=[FavoriteOut.of(item, stale=stale) for item in found.items],
            next=paging.next_url(found.next),
        )

    return await revalidation.answer(page)


def parse_product_ids(text: str) -> tuple[ProductId, ...]:
    """
    Read product ids that are separated by commas.

    :raises PydanticCustomError: if one is no product id, or there are more than 100
    """
    parts = text.split(",", _CONTAINS_MAX)
    if len(parts) > _CONTAINS_MAX:
        raise PydanticCustomError("too_long", "Ask for at most 100 products at once.")
    return tuple(parse_product_id(part) for part in parts)


def _checked(text: str) -> str:
    parse_product_ids(text)
    return text


_LIST_OF_IDS = {
    "type": "array",
    "items": PRODUCT_ID_SCHEMA,
    "minItems": 1,
    "maxItems": _CONTAINS_MAX,
    "examples": [[1, 2, 3]],
}


async def asked_products(
    product_ids: Annotated[
        str,
        AfterValidator(_checked),
        WithJsonSchema(_LIST_OF_IDS),
        Query(description="At most 100 ids, separated by commas."),
    ],
) -> tuple[ProductId, ...]:
    """Return the products that are asked about; FastAPI itself knows no such list."""
    return parse_product_ids(product_ids)


@router.get(
    "/favorites/contains",
    response_model=ContainsOut,
    summary="Tell which products are favorites",
    responses={**problems(*GUARDED), **TAGGED},
)
async def contains_favorites(
    customer_id: OwnCustomer,
    product_ids: Annotated[tuple[ProductId, ...], Depends(asked_products)],
    use_case: Annotated[ContainsFavorites, Depends(use(lambda all_: all_.contains_favorites))],
    revalidation: ListRevalidation,
) -> ContainsOut | Response:
    """Ask for the hearts of a page of products at once."""

    async def hearts() -> ContainsOut:
        _, found = await use_case(customer_id=customer_id, product_ids=product_ids)
        return ContainsOut(items={str(each): each in found for each in product_ids})

    return await revalidation.answer(hearts, may_be_due=False)


@router.get(
    "/favorites/{product_id}",
    response_model=FavoriteOut,
    summary="Read a favorite",
    responses={**problems(*GUARDED, FavoriteNotFound), **TAGGED},
)
async def read_favorite(
    customer_id: OwnCustomer,
    product_id: ProductPath,
    stale: StaleCheck,
    use_case: Annotated[ReadFavorite, Depends(use(lambda all_: all_.read_favorite))],
    revalidation: ListRevalidation,
) -> FavoriteOut | Response:
    """Look at one favorite with the last known copy of its product."""

    async def favorite() -> FavoriteOut:
        item = await use_case(customer_id=customer_id, product_id=product_id)
        return FavoriteOut.of(item, stale=stale)

    return await revalidation.answer(favorite, may_be_absent=True)


_FAVORITED: dict[int | str, dict[str, Any]] = {
    **problems(*GUARDED, ProductNotFound, TooManyPending, FavoritesFull),
    200: {"model": FavoriteOut, "description": "It was a favorite already"},
    201: {"model": FavoriteOut, "description": "It is a favorite now"},
    202: {"model": FavoriteOut, "description": "It is a favorite until the catalog says no"},
}


@router.put(
    "/favorites/{product_id}",
    operation_id="favorite_product",
    status_code=status.HTTP_201_CREATED,
    summary="Mark a product as a favorite",
    responses=_FAVORITED,
)
@router.post(
    "/favorites/{product_id}",
    operation_id="favorite_product_by_post",
    status_code=status.HTTP_201_CREATED,
    summary="Mark a product as a favorite",
    responses=_FAVORITED,
)
async def favorite_product(
    customer_id: OwnCustomer,
    product_id: ProductPath,
    response: Response,
    stale: StaleCheck,
    use_case: Annotated[FavoriteProduct, Depends(use(lambda all_: all_.favorite_product))],
) -> FavoriteOut:
    """
    Add a product to the favorites; a second time changes nothing and answers 200.

    While the catalog cannot be asked about a product that is not known yet, the favorite is
    accepted with 202 and confirmed later.
    """
    favorited = await use_case(customer_id=customer_id, product_id=product_id)
    response.status_code = favorited_status(favorited)
    response.headers["Location"] = f"/customers/{customer_id}/favorites/{product_id}"
    return FavoriteOut.of(favorited.item, stale=stale)


def favorited_status(favorited: Favorited) -> int:
    """Return the status that tells what became of a favorite."""
    if favorited.item.status is FavoriteStatus.PENDING:
        return status.HTTP_202_ACCEPTED
    return status.HTTP_201_CREATED if favorited.created else status.HTTP_200_OK


@router.delete(
    "/favorites/{product_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    summary="Remove a favorite",
    responses=problems(*GUARDED),
)
async def remove_favorite(
    customer_id: OwnCustomer,
    product_id: ProductPath,
    use_case: Annotated[RemoveFavorite, Depends(use(lambda all_: all_.remove_favorite))],
) -> None:
    """Take a product off the favorites; one that is not there is gone already."""
    await use_case(customer_id=customer_id, product_id=product_id)


@router.post(
    "/favorites/{product_id}/restore",
    summary="Restore a favorite that was removed",
    responses=problems(*GUARDED, FavoriteNotFound, FavoritesFull),
)
async def restore_favorite(
    customer_id: OwnCustomer,
    product_id: ProductPath,
    stale: StaleCheck,
    use_case: Annotated[RestoreFavorite, Depends(use(lambda all_: all_.restore_favorite))],
) -> FavoriteOut:
    """
    Undo a removal within ten minutes: the favorite is back in its place, with its original time.

    One that is there stays as it is.
    """
    item = await use_case(customer_id=customer_id, product_id=product_id)
    return FavoriteOut.of(item, stale=stale)


@router.get(
    "/profile",
    response_model=ProfileOut,
    summary="Read a customer with their favorites",
    responses={**problems(*GUARDED), **TAGGED},
)
async def read_profile(
    customer_id: OwnCustomer,
    paging: FirstPageIn,
    stale: StaleCheck,
    use_case: Annotated[ReadProfile, Depends(use(lambda all_: all_.read_profile))],
    revalidation: ProfileRevalidation,
) -> ProfileOut | Response:
    """Get what a front end's first screen shows; `next` leads on in the list of favorites."""

    async def profile() -> ProfileOut:
        found = await use_case(FavoriteQuery(customer_id=customer_id, limit=paging.limit))
        return ProfileOut(
            customer=CustomerOut.model_validate(found.customer),
            favorites=PageOut(
                items=[FavoriteOut.of(item, stale=stale) for item in found.favorites.items],
                next=paging.next_url(found.favorites.next),
            ),
        )

    return await revalidation.answer(profile)
