from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.outcome import ProductNotFound
from app.domain.product import CachedProduct, PricePoint, ProductId
from app.domain.repository import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPriceHistory:
    """Show which prices a product has had."""

    uow: UnitOfWorkFactory

    async def __call__(self, *, product_id: ProductId) -> Sequence[PricePoint]:
        """
        Return the prices seen, oldest first; the catalog is not asked.

        :raises ProductNotFound: if no copy of the product was ever held
        """
        async with self.uow() as work:
            if not isinstance(await work.products.get(product_id), CachedProduct):
                raise ProductNotFound("No price of this product has been seen")
            return await work.products.price_history(product_id)
