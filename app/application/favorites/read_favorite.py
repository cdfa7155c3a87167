from dataclasses import dataclass

from app.application.catalog.product_reader import ProductReader
from app.domain.customer import CustomerId
from app.domain.favorite import FavoriteItem
from app.domain.outcome import FavoriteNotFound
from app.domain.product import ProductId
from app.domain.repository import UnitOfWorkFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFavorite:
    """Look at one favorite."""

    uow: UnitOfWorkFactory
    products: ProductReader

    async def __call__(self, *, customer_id: CustomerId, product_id: ProductId) -> FavoriteItem:
        """
        Return the favorite with the last known copy of its product.

        :raises FavoriteNotFound: if the product is not one of the customer's favorites
        """
        async with self.uow() as work:
            item = await work.favorites.get(customer_id, product_id)
        if item is None:
            raise FavoriteNotFound("The product is not one of the customer's favorites")
        if item.cached is not None:
            self.products.refresh_soon([item.cached])
        return item
