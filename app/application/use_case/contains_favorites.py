from collections.abc import Collection
from dataclasses import dataclass

from app.domain.customer import CustomerId
from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainsFavorites:
    """Tell which of some products are a customer's favorites: the hearts of a page of products."""

    uow: UnitOfWorkFactory

    async def __call__(
        self, *, customer_id: CustomerId, product_ids: Collection[ProductId]
    ) -> frozenset[ProductId]:
        """Return those of the products that are favorites."""
        async with self.uow() as work:
            return await work.favorites.contains(customer_id, product_ids)
