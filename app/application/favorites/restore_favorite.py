import logging
from dataclasses import dataclass
from datetime import timedelta

from app.application.ports import Clock
from app.domain.customer import CustomerId
from app.domain.favorite import FavoriteItem
from app.domain.outcome import FavoriteNotFound, FavoritesFull
from app.domain.product import ProductId
from app.domain.queries import Queries
from app.domain.writes import FavoriteLimits, FavoriteWrites, RestoreOutcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreFavorite:
    """Undo the removal of a favorite, for as long as `window` after it."""

    queries: Queries
    favorites: FavoriteWrites
    clock: Clock
    window: timedelta
    limits: FavoriteLimits

    async def __call__(self, *, customer_id: CustomerId, product_id: ProductId) -> FavoriteItem:
        """
        Bring a favorite back with its original time; one that is there stays as it is.

        :raises FavoriteNotFound: if there is none, or it was removed too long ago
        :raises FavoritesFull: if the list is full
        """
        outcome = await self.favorites.restore(
            customer_id,
            product_id,
            removed_since=self.clock() - self.window,
            limits=self.limits,
        )
        match outcome:
            case RestoreOutcome.RESTORED:
                logger.info(
                    "favorite_restored",
                    extra={"customer_id": str(customer_id), "product_id": product_id},
                )
            case RestoreOutcome.PRESENT:
                pass
            case RestoreOutcome.FULL:
                raise FavoritesFull("The list of favorites is full")
            case RestoreOutcome.NOT_RESTORABLE | RestoreOutcome.NO_CUSTOMER:
                raise _not_restorable()
        found = await self.queries.find_favorite(customer_id, product_id)
        if found.item is None:
            raise _not_restorable()
        return found.item


def _not_restorable() -> FavoriteNotFound:
    return FavoriteNotFound("There is no removed favorite that could be restored")
