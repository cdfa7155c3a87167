from dataclasses import dataclass

from app.application.customer_lookup import existing_customer
from app.domain.customer import Customer, CustomerId
from app.domain.repository import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCustomer:
    """Look at one customer."""

    uow: UnitOfWorkFactory

    async def __call__(self, *, customer_id: CustomerId) -> Customer:
        """
        Return the customer.

        :raises CustomerNotFound: if there is no such customer
        """
        async with self.uow() as work:
            return await existing_customer(work, customer_id)
