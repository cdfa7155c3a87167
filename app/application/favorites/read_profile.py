from dataclasses import dataclass

from app.application.catalog.product_reader import ProductReader
from app.application.customer_lookup import existing_customer
from app.domain.customer import Customer
from app.domain.favorite import FavoriteItem, FavoriteQuery
from app.domain.page import Page
from app.domain.repository import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A customer with the first page of their favorites."""

    customer: Customer
    favorites: Page[FavoriteItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadProfile:
    """Give a front end in one answer what its first screen shows."""

    uow: UnitOfWorkFactory
    products: ProductReader

    async def __call__(self, query: FavoriteQuery) -> Profile:
        """
        Return the customer and a page of favorites.

        :raises CustomerNotFound: if there is no such customer
        """
        async with self.uow() as work:
            customer = await existing_customer(work, query.customer_id)
            page = await work.favorites.list_page(query)
        self.products.refresh_soon([item.cached for item in page.items if item.cached])
        return Profile(customer=customer, favorites=page)
