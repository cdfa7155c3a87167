from dataclasses import dataclass

from app.application.catalog.product_reader import ProductReader
from app.application.customer_lookup import existing_customer
from app.domain.customer import CustomerId
from app.domain.favorite import ChangePosition, Changes
from app.domain.repository import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFavoriteChanges:
    """Let a client that was away catch up with a customer's favorites."""

    uow: UnitOfWorkFactory
    products: ProductReader

    async def __call__(
        self, *, customer_id: CustomerId, since: ChangePosition, limit: int
    ) -> Changes:
        """
        Return what was added, removed or got another state after a position.

        :raises ChangesForgotten: if removals since then are not remembered any more
        :raises CustomerNotFound: if there is no such customer
        """
        async with self.uow() as work:
            changes = await work.favorites.list_changes(customer_id, since=since, limit=limit)
            if not changes.items:
                await existing_customer(work, customer_id)
            # The positions handed out have to last.
            await work.commit()
        self.products.refresh_soon(
            [change.item.cached for change in changes.items if change.item and change.item.cached]
        )
        return changes
