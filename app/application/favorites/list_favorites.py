from dataclasses import dataclass

from app.application.catalog.product_reader import ProductReader
from app.application.customer_lookup import existing_customer
from app.domain.access import SessionClaim
from app.domain.customer import CustomerId
from app.domain.favorite import FavoriteItem, FavoriteQuery, ListVersion
from app.domain.page import Page
from app.domain.repository import Lookups, UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFavorites:
    """Show a customer's favorites with their products; never waits for the catalog."""

    uow: UnitOfWorkFactory
    lookups: Lookups
    products: ProductReader

    async def __call__(self, query: FavoriteQuery) -> Page[FavoriteItem]:
        """
        Return a page of the favorites that match, in one query.

        :raises CustomerNotFound: if there is no such customer
        """
        async with self.uow() as work:
            page = await work.favorites.list_page(query)
            if not page.items:
                await existing_customer(work, query.customer_id)
        self._refresh(page)
        return page

    async def newest(
        self, customer_id: CustomerId, *, limit: int, claim: SessionClaim | None = None
    ) -> tuple[ListVersion, Page[FavoriteItem]]:
        """
        Return the page with which the list begins, newest first, and the version it is of.

        :raises InvalidToken: if there is a `claim` that does not hold
        :raises CustomerNotFound: if there is no such customer
        """
        version, page = await self.lookups.list_newest(customer_id, limit=limit, claim=claim)
        if not page.items:
            async with self.uow() as work:
                await existing_customer(work, customer_id)
        self._refresh(page)
        return version, page

    def _refresh(self, page: Page[FavoriteItem]) -> None:
        self.products.refresh_soon([item.cached for item in page.items if item.cached])
