import logging
from dataclasses import dataclass

from app.application.ports import Clock
from app.domain.access import SessionCheck, session_ended
from app.domain.customer import CustomerId
from app.domain.outcome import CustomerNotFound
from app.domain.product import ProductId
from app.domain.writes import FavoriteWrites, RemoveOutcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFavorite:
    """Remove a product from a customer's favorites."""

    favorites: FavoriteWrites
    clock: Clock

    async def __call__(
        self,
        *,
        customer_id: CustomerId,
        product_id: ProductId,
        session: SessionCheck | None = None,
    ) -> None:
        """
        Remove the favorite; one that is not there is no error.

        :raises InvalidToken: if the session is not valid
        :raises CustomerNotFound: if there is no such customer
        """
        outcome = await self.favorites.remove(
            customer_id, product_id, now=self.clock(), session=session
        )
        match outcome:
            case RemoveOutcome.REMOVED:
                logger.info(
                    "favorite_removed",
                    extra={"customer_id": str(customer_id), "product_id": product_id},
                )
            case RemoveOutcome.ABSENT:
                pass
            case RemoveOutcome.NO_CUSTOMER:
                raise CustomerNotFound
            case RemoveOutcome.SESSION_ENDED:
                raise session_ended()
