"""Products in responses; `JsonWriter` writes them."""

from typing import Annotated

from pydantic import Field

from app.infra.http.schema import Money, Out, Rate, TimeOut


class RatingOut(Out):
    """The votes of buyers."""

    rate: Annotated[Rate, Field(description="The mean of all votes, 0 to 5.")]
    count: int


class ProductOut(Out):
    """A product as of the last fetch from the catalog."""

    id: int
    title: str
    price: Money
    description: str
    category: str
    image: str
    rating: RatingOut | None
    fetched_at: Annotated[
        TimeOut, Field(description="When this copy was requested from the catalog.")
    ]
    stale: Annotated[
        bool, Field(description="Whether the copy is older than the cache considers fresh.")
    ]


class PopularProductOut(ProductOut):
    """A product that many customers favor."""

    favorites: Annotated[int, Field(description="How many customers favor it.")]


class PopularProductsOut(Out):
    """Products, the most favored first."""

    items: list[PopularProductOut]


class PriceOut(Out):
    """A price and the time at which it was first seen."""

    price: Money
    seen_at: TimeOut


class PriceHistoryOut(Out):
    """The prices of a product, oldest first."""

    items: list[PriceOut]
