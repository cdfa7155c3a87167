from dataclasses import dataclass

from app.application.product_reader import ProductReader
from app.domain.favorite import FavoriteItem, FavoriteQuery
from app.domain.outcome import CustomerNotFound
from app.domain.page import Page
from app.domain.repository import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFavorites:
    """Show a customer's favorites with their products; never waits for the catalog."""

    uow: UnitOfWorkFactory
    products: ProductReader

    async def __call__(self, query: FavoriteQuery) -> Page[FavoriteItem]:
        """
        Return a page of the favorites that match, in one query.

        :raises CustomerNotFound: if there is no such customer
        """
        async with self.uow() as work:
            page = await work.favorites.list_page(query)
            if not page.items and await work.customers.get(query.customer_id) is None:
                raise CustomerNotFound("There is no such customer")
        self.products.refresh_soon([item.cached for item in page.items if item.cached])
        return page
