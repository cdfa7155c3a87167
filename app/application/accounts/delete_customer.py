import logging
from dataclasses import dataclass

from app.domain.customer import CustomerId
from app.domain.outcome import CustomerNotFound
from app.domain.repository import UnitOfWorkFactory
from app.domain.throttle import email_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCustomer:
    """Erase a customer and all personal data about them."""

    uow: UnitOfWorkFactory

    async def __call__(self, *, customer_id: CustomerId) -> None:
        """
        Erase the account with its favorites and sessions.

        :raises CustomerNotFound: if there is no such customer
        """
        async with self.uow() as work:
            customer = await work.customers.get(customer_id)
            if customer is None or not await work.customers.remove(customer_id):
                raise CustomerNotFound
            for purpose in ("sign-in", "change-password"):
                # The key is a hash of the address, which can be guessed.
                await work.throttles.forget(email_key(purpose, customer.email))
            await work.commit()
        logger.info("customer_deleted", extra={"customer_id": str(customer_id)})
