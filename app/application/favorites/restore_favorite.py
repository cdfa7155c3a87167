import logging
from dataclasses import dataclass
from datetime import timedelta

from app.application.ports import Clock
from app.domain.customer import CustomerId
from app.domain.favorite import FavoriteItem
from app.domain.job import ValidateProduct
from app.domain.outcome import FavoriteNotFound
from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreFavorite:
    """Undo the removal of a favorite, for as long as `window` after it."""

    uow: UnitOfWorkFactory
    clock: Clock
    window: timedelta
    favorites_max: int

    async def __call__(self, *, customer_id: CustomerId, product_id: ProductId) -> FavoriteItem:
        """
        Bring a favorite back with its original time; one that is there stays as it is.

        :raises FavoriteNotFound: if there is none, or it was removed too long ago
        :raises FavoritesFull: if the list is full
        """
        async with self.uow() as work:
            restored = await work.favorites.restore(
                customer_id,
                product_id,
                removed_since=self.clock() - self.window,
                at_most=self.favorites_max,
            )
            item = await work.favorites.get(customer_id, product_id)
            if item is None:
                raise FavoriteNotFound("There is no removed favorite that could be restored")
            if restored and item.favorite.pending:
                # The answer that it waited for may have come while it was away.
                await work.jobs.enqueue(ValidateProduct(product_id=product_id))
            await work.commit()
        if restored:
            logger.info(
                "favorite_restored",
                extra={"customer_id": str(customer_id), "product_id": product_id},
            )
        return item
