import logging
from dataclasses import dataclass

from app.application.catalog.product_reader import ProductReader
from app.application.ports import Clock
from app.domain.favorite import Snapshot
from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatePendingProduct:
    """Settle the favorites of a product that was added while the catalog was unavailable."""

    uow: UnitOfWorkFactory
    products: ProductReader
    clock: Clock

    async def __call__(self, *, product_id: ProductId) -> None:
        """
        Confirm or reject all pending favorites of the product; a repetition changes nothing.

        :raises CatalogUnavailable: if the catalog still cannot be asked
        """
        product = await self.products.validate(product_id)
        async with self.uow() as work:
            if product is None:
                settled = await work.favorites.reject(product_id, now=self.clock())
            else:
                settled = await work.favorites.confirm(product_id, Snapshot.of(product))
            await work.commit()
        logger.info(
            "pending_favorites_settled",
            extra={
                "product_id": product_id,
                "exists": product is not None,
                "favorites": settled,
            },
        )
