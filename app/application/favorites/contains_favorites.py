from collections.abc import Collection
from dataclasses import dataclass

from app.application.customer_lookup import existing_customer
from app.domain.access import SessionClaim
from app.domain.customer import CustomerId
from app.domain.favorite import ListVersion
from app.domain.product import ProductId
from app.domain.repository import Lookups, UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainsFavorites:
    """Tell which of some products are a customer's favorites: the hearts of a page of products."""

    uow: UnitOfWorkFactory
    lookups: Lookups

    async def __call__(
        self,
        *,
        customer_id: CustomerId,
        product_ids: Collection[ProductId],
        claim: SessionClaim | None = None,
    ) -> tuple[ListVersion, frozenset[ProductId]]:
        """
        Return those of the products that are favorites, and the version of the list.

        :raises InvalidToken: if there is a `claim` that does not hold
        :raises CustomerNotFound: if there is no such customer
        """
        version, found = await self.lookups.contains(customer_id, product_ids, claim=claim)
        # A list that never changed could be that of a customer who has been erased.
        if not version.favorites:
            async with self.uow() as work:
                await existing_customer(work, customer_id)
        return version, found
