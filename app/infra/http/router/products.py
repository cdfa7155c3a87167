"""The product catalog, read through the cache."""

import math
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Path, Query
from pydantic import Field

from app.application.catalog.read_price_history import ReadPriceHistory
from app.domain.outcome import CatalogUnavailable, ProductNotFound
from app.domain.product import ProductQuery, ProductSort, ServedFrom
from app.infra.http.openapi import PUBLIC, problems
from app.infra.http.paging import LimitIn, Links, PageIn, PageOut
from app.infra.http.route import Call, Fields, Reply, Router, use
from app.infra.http.router.product_schema import (
    PopularProductsOut,
    PriceHistoryOut,
    PriceOut,
    ProductOut,
)
from app.infra.http.schema import ProductIdIn, Text

router = Router(prefix="/products", tags=["products"])

ProductPath = Annotated[ProductIdIn, Path(description="A product's id in the catalog.")]

_POPULAR_FIELDS = [(b"cache-control", b"public, max-age=60")]

# RFC 9211, section 2: `hit` if no fetch was needed, `fwd` with the reason otherwise.
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


class ProductsIn(PageIn):
    """The filters and the order of a list of products."""

    category: Annotated[Text | None, Field(max_length=200)] = None
    q: Annotated[
        Text | None, Field(max_length=200, description="A part of the title; case-insensitive.")
    ] = None
    sort: ProductSort = ProductSort.ID


@router.get(
    "",
    response_model=PageOut[ProductOut],
    summary="List products",
    responses={**problems(CatalogUnavailable), **_HEADERS},
    openapi_extra=PUBLIC,
)
async def list_products(call: Call, query: Annotated[ProductsIn, Query()]) -> Reply:
    """List the products of the catalog."""
    links = Links(call.app.state.cursors, path=call.scope["path"], query=call.query_pairs)
    reading = await call.use_cases.catalog.list_page(
        ProductQuery(
            category=query.category,
            q=query.q,
            sort=query.sort,
            limit=query.limit,
            after=links.position(query.cursor),
        )
    )
    body = call.json_writer.products(
        reading.page.items,
        now=call.use_cases.clock(),
        next_url=links.next_url(reading.page.next),
    )
    fields = _cache_fields(call, reading.served_from, reading.age, collapsed=reading.collapsed)
    return Reply(fields=fields, body=body)


@router.get(
    "/popular",
    response_model=PopularProductsOut,
    summary="List the most popular products",
    openapi_extra=PUBLIC,
)
async def list_popular(call: Call, query: Annotated[LimitIn, Query()]) -> Reply:
    """
    List the products that most customers favor, with the number of customers.

    Products that only a few customers favor are left out.
    """
    popular = await call.use_cases.list_popular(limit=query.limit)
    body = call.json_writer.popular(popular, now=call.use_cases.clock())
    return Reply(fields=_POPULAR_FIELDS, body=body)


@router.get(
    "/{product_id}",
    response_model=ProductOut,
    summary="Read a product",
    responses={**problems(ProductNotFound, CatalogUnavailable), **_HEADERS},
    openapi_extra=PUBLIC,
)
async def read_product(call: Call, product_id: ProductPath) -> Reply:
    """Get one product. A stale copy is returned at once, and refreshed afterwards."""
    reading = await call.use_cases.products.read(product_id)
    age = reading.cached.age(call.use_cases.clock())
    fields = _cache_fields(call, reading.served_from, age, collapsed=reading.collapsed)
    body = call.json_writer.product(reading.cached, stale=reading.stale)
    return Reply(fields=fields, body=body)


@router.get(
    "/{product_id}/price-history",
    summary="Read the price history of a product",
    responses=problems(ProductNotFound),
    openapi_extra=PUBLIC,
)
async def read_price_history(
    product_id: ProductPath,
    use_case: Annotated[ReadPriceHistory, Depends(use(lambda all_: all_.read_price_history))],
) -> PriceHistoryOut:
    """Get the prices that this service has seen, oldest first. The catalog is not called."""
    prices = await use_case(product_id=product_id)
    return PriceHistoryOut(items=[PriceOut.model_validate(each) for each in prices])


def _cache_fields(
    call: Call, served_from: ServedFrom, age: timedelta | None, *, collapsed: bool
) -> Fields:
    """
    Return the header fields about the cache (RFC 9111 and RFC 9211).

    The response is the same for all clients. Shared caches may store it for as long as a copy of
    the product is fresh.
    """
    shared = "; collapsed" if collapsed else ""
    status = f"favorites; {_CACHE_STATUS[served_from]}{shared}"
    max_age = math.floor(call.use_cases.cache_policy.soft_ttl.total_seconds())
    fields = [
        (b"cache-status", status.encode()),
        (b"cache-control", b"public, max-age=%d" % max_age),
    ]
    if age is not None:
        fields.append((b"age", b"%d" % math.floor(age.total_seconds())))
    return fields
