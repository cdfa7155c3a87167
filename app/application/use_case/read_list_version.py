from dataclasses import dataclass

from app.domain.customer import CustomerId
from app.domain.favorite import ListVersion
from app.domain.repository import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadListVersion:
    """Tell whether a list of favorites is still as somebody has seen it, at the least cost."""

    uow: UnitOfWorkFactory

    async def __call__(self, *, customer_id: CustomerId) -> ListVersion:
        """Return what the customer's list depends on."""
        async with self.uow() as work:
            return await work.favorites.version(customer_id)
