from collections.abc import Sequence
from dataclasses import dataclass

from app.application.catalog.product_reader import ProductReader
from app.domain.product import PopularProduct
from app.domain.queries import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPopular:
    """
    Show which products most customers favor.

    Those with fewer than `at_least` favorites are left out: a small count could identify people.
    """

    queries: Queries
    products: ProductReader
    at_least: int

    async def __call__(self, *, limit: int) -> Sequence[PopularProduct]:
        """Return the most favored products, most first."""
        popular = await self.queries.list_popular(at_least=self.at_least, limit=limit)
        self.products.refresh_soon(product.cached for product in popular)
        return popular
