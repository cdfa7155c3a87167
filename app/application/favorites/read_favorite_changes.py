from dataclasses import dataclass

from app.application.catalog.product_reader import ProductReader
from app.domain.access import SessionCheck
from app.domain.customer import CustomerId
from app.domain.favorite import ChangePosition, Changes
from app.domain.queries import Queries
from app.domain.writes import FavoriteWrites


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFavoriteChanges:
    """Let a client that was away synchronize its copy of a customer's favorites."""

    queries: Queries
    favorites: FavoriteWrites
    products: ProductReader

    async def __call__(
        self,
        *,
        customer_id: CustomerId,
        since: ChangePosition,
        limit: int,
        session: SessionCheck | None = None,
    ) -> Changes:
        """
        Return what was added, removed or got another state after a position.

        :raises InvalidToken: if the session is not valid
        :raises ChangesForgotten: if removals since then are not remembered any more
        :raises CustomerNotFound: if there is no such customer
        """
        changes = await self.queries.list_changes(
            customer_id, since=since, limit=limit, session=session
        )
        if changes.behind:
            await self.favorites.enter_catalog_changes(customer_id)
            changes = await self.queries.list_changes(
                customer_id, since=since, limit=limit, session=session
            )
        self.products.refresh_soon(
            change.item.cached for change in changes.items if change.item is not None
        )
        return changes
