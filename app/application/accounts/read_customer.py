from dataclasses import dataclass

from app.domain.customer import Customer, CustomerId
from app.domain.outcome import CustomerNotFound
from app.domain.queries import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCustomer:
    """Read one customer."""

    queries: Queries

    async def __call__(self, *, customer_id: CustomerId) -> Customer:
        """
        Return the customer.

        :raises CustomerNotFound: if there is no such customer
        """
        customer = await self.queries.find_customer(customer_id)
        if customer is None:
            raise CustomerNotFound
        return customer
