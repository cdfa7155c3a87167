"""How products appear in answers."""

from typing import Annotated, Self

from pydantic import Field

from app.domain.product import CachedProduct, PopularProduct
from app.infra.http.schema import Money, Out, Rate, TimeOut


class RatingOut(Out):
    """What buyers think."""

    rate: Annotated[Rate, Field(description="The mean of all votes, 0 to 5.")]
    count: int


class ProductOut(Out):
    """A product as the catalog described it when it was last asked."""

    id: int
    title: str
    price: Money
    description: str
    category: str
    image: str
    rating: RatingOut | None
    fetched_at: Annotated[TimeOut, Field(description="When the catalog was asked for this copy.")]
    stale: Annotated[bool, Field(description="Whether a newer copy is due.")]

    @classmethod
    def of(cls, cached: CachedProduct, *, stale: bool) -> Self:
        """Describe the copy of a product."""
        product = cached.product
        return cls(
            id=product.id,
            title=product.title,
            price=product.price,
            description=product.description,
            category=product.category,
            image=product.image,
            rating=None if product.rating is None else RatingOut.model_validate(product.rating),
            fetched_at=cached.fetched_at,
            stale=stale,
        )


class PopularProductOut(ProductOut):
    """A product that many customers favor."""

    favorites: Annotated[int, Field(description="How many customers favor it.")]

    @classmethod
    def of_popular(cls, popular: PopularProduct, *, stale: bool) -> Self:
        """Describe a product with its count."""
        product = ProductOut.of(popular.cached, stale=stale)
        return cls.model_validate({**dict(product), "favorites": popular.favorites})


class PopularProductsOut(Out):
    """Products, the most favored first."""

    items: list[PopularProductOut]


class PriceOut(Out):
    """A price and since when it has been seen."""

    price: Money
    seen_at: TimeOut


class PriceHistoryOut(Out):
    """The prices a product has had, oldest first."""

    items: list[PriceOut]
