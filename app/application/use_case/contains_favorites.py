from collections.abc import Collection
from dataclasses import dataclass

from app.domain.customer import CustomerId
from app.domain.favorite import ListVersion
from app.domain.product import ProductId
from app.domain.repository import Lookups


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainsFavorites:
    """Tell which of some products are a customer's favorites: the hearts of a page of products."""

    lookups: Lookups

    async def __call__(
        self, *, customer_id: CustomerId, product_ids: Collection[ProductId]
    ) -> tuple[ListVersion, frozenset[ProductId]]:
        """Return those of the products that are favorites, and the version of the list."""
        return await self.lookups.contains(customer_id, product_ids)
