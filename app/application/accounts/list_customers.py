from dataclasses import dataclass

from app.domain.customer import Customer, CustomerQuery
from app.domain.page import Page
from app.domain.repository import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ListCustomers:
    """Look through the customers, a page at a time."""

    uow: UnitOfWorkFactory

    async def __call__(self, query: CustomerQuery) -> Page[Customer]:
        """Return a page of the customers that match."""
        async with self.uow() as work:
            return await work.customers.list_page(query)
