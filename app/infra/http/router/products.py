"""The catalog, read through the cache."""

import math
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response

from app.application.catalog.list_popular import ListPopular
from app.application.catalog.product_reader import ProductReader
from app.application.catalog.read_price_history import ReadPriceHistory
from app.domain.outcome import CatalogUnavailable, ProductNotFound
from app.domain.page import DEFAULT_LIMIT
from app.domain.product import ProductQuery, ProductSort, ServedFrom
from app.infra.http.openapi import PUBLIC, problems
from app.infra.http.paging import Limit, PageOut, PagingIn
from app.infra.http.router.favorite_schema import StaleCheck
from app.infra.http.router.product_schema import (
    PopularProductOut,
    PopularProductsOut,
    PriceHistoryOut,
    PriceOut,
    ProductOut,
)
from app.infra.http.schema import ProductIdIn, Text
from app.infra.http.strict_json import StrictRouter
from app.infra.http.use_cases import use

router = StrictRouter(prefix="/products", tags=["products"])

ProductPath = Annotated[ProductIdIn, Path(description="A product's id in the catalog.")]
Reader = Annotated[ProductReader, Depends(use(lambda all_: all_.products))]

_POPULAR_MAX_AGE_S = 60

# RFC 9211, section 2: `hit` if nobody had to be asked, `fwd` with the reason otherwise.
_CACHE_STATUS = {
    ServedFrom.HIT: "hit",
    ServedFrom.STALE_WHILE_REVALIDATE: "hit; detail=stale-while-revalidate",
    ServedFrom.STALE_IF_ERROR: "hit; detail=stale-if-error",
    ServedFrom.MISS: "fwd=uri-miss; stored",
    ServedFrom.REVALIDATED: "fwd=stale; stored",
    ServedFrom.NEGATIVE_HIT: "hit; detail=negative",
}
_HEADERS: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Cache-Status": {"schema": {"type": "string"}, "description": "RFC 9211"},
            "Age": {"schema": {"type": "integer"}, "description": "Seconds, RFC 9111"},
        }
    }
}


async def product_query(
    paging: PagingIn,
    category: Annotated[Text | None, Query(max_length=200)] = None,
    q: Annotated[
        Text | None, Query(max_length=200, description="Part of a title, case aside.")
    ] = None,
    sort: Annotated[ProductSort, Query()] = ProductSort.ID,
) -> ProductQuery:
    """Return which products are asked for."""
    return ProductQuery(category=category, q=q, sort=sort, limit=paging.limit, after=paging.after)


@router.get(
    "",
    summary="List products",
    responses={**problems(CatalogUnavailable), **_HEADERS},
    openapi_extra=PUBLIC,
)
async def list_products(
    request: Request,
    response: Response,
    query: Annotated[ProductQuery, Depends(product_query)],
    paging: PagingIn,
    stale: StaleCheck,
    products: Reader,
) -> PageOut[ProductOut]:
    """Look through the catalog."""
    reading = await products.list_page(query)
    _describe(request, response, reading.served_from, reading.age, collapsed=reading.collapsed)
    return PageOut(
        items=[ProductOut.of(each, stale=stale(each)) for each in reading.page.items],
        next=paging.next_url(reading.page.next),
    )


@router.get("/popular", summary="List the most favored products", openapi_extra=PUBLIC)
async def list_popular(
    response: Response,
    stale: StaleCheck,
    use_case: Annotated[ListPopular, Depends(use(lambda all_: all_.list_popular))],
    limit: Limit = DEFAULT_LIMIT,
) -> PopularProductsOut:
    """
    See which products most customers favor, with how many do.

    Products that only few favor are left out.
    """
    popular = await use_case(limit=limit)
    response.headers["Cache-Control"] = f"public, max-age={_POPULAR_MAX_AGE_S}"
    return PopularProductsOut(
        items=[PopularProductOut.of_popular(each, stale=stale(each.cached)) for each in popular]
    )


@router.get(
    "/{product_id}",
    summary="Read a product",
    responses={**problems(ProductNotFound, CatalogUnavailable), **_HEADERS},
    openapi_extra=PUBLIC,
)
async def read_product(
    request: Request, response: Response, product_id: ProductPath, products: Reader
) -> ProductOut:
    """Look at one product; a copy that is due for another is served at once."""
    reading = await products.read(product_id)
    age = reading.cached.age(products.clock())
    _describe(request, response, reading.served_from, age, collapsed=reading.collapsed)
    return ProductOut.of(reading.cached, stale=reading.stale)


@router.get(
    "/{product_id}/price-history",
    summary="Read which prices a product has had",
    responses=problems(ProductNotFound),
    openapi_extra=PUBLIC,
)
async def read_price_history(
    product_id: ProductPath,
    use_case: Annotated[ReadPriceHistory, Depends(use(lambda all_: all_.read_price_history))],
) -> PriceHistoryOut:
    """See the prices that were seen, oldest first; the catalog itself is not asked."""
    prices = await use_case(product_id=product_id)
    return PriceHistoryOut(items=[PriceOut.model_validate(each) for each in prices])


def product_headers(
    max_age: timedelta, served_from: ServedFrom, age: timedelta | None, *, collapsed: bool
) -> dict[str, str]:
    """
    Return what tells caches, and those who look, about an answer from the catalog.

    Shared caches may keep what is the same for everybody for as long as we believe it.
    """
    shared = "; collapsed" if collapsed else ""
    headers = {
        "Cache-Status": f"favorites; {_CACHE_STATUS[served_from]}{shared}",
        "Cache-Control": f"public, max-age={math.floor(max_age.total_seconds())}",
    }
    if age is not None:
        headers["Age"] = str(math.floor(age.total_seconds()))
    return headers


def _describe(
    request: Request,
    response: Response,
    served_from: ServedFrom,
    age: timedelta | None,
    *,
    collapsed: bool,
) -> None:
    max_age = request.app.state.options.product_max_age
    response.headers.update(product_headers(max_age, served_from, age, collapsed=collapsed))
