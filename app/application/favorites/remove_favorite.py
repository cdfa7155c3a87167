import logging
from dataclasses import dataclass

from app.application.customer_lookup import existing_customer
from app.application.ports import Clock
from app.domain.customer import CustomerId
from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFavorite:
    """Take a product off a customer's favorites."""

    uow: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, *, customer_id: CustomerId, product_id: ProductId) -> None:
        """
        Remove the favorite; one that is not there is gone already.

        :raises CustomerNotFound: if there is no such customer
        """
        async with self.uow() as work:
            removed = await work.favorites.remove(customer_id, product_id, now=self.clock())
            if not removed:
                await existing_customer(work, customer_id)
            await work.commit()
        if removed:
            logger.info(
                "favorite_removed",
                extra={"customer_id": str(customer_id), "product_id": product_id},
            )
