from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.outcome import ProductNotFound
from app.domain.product import PricePoint, ProductId
from app.domain.queries import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPriceHistory:
    """Show which prices a product has had."""

    queries: Queries

    async def __call__(self, *, product_id: ProductId) -> Sequence[PricePoint]:
        """
        Return the prices seen, oldest first; the catalog is not called.

        :raises ProductNotFound: if no copy of the product was ever stored
        """
        prices = await self.queries.list_prices(product_id)
        if prices is None:
            raise ProductNotFound("No price of this product has been seen")
        return prices
