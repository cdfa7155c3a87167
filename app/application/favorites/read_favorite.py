from dataclasses import dataclass

from app.application.catalog.product_reader import ProductReader
from app.domain.access import SessionCheck
from app.domain.customer import CustomerId
from app.domain.favorite import FavoriteItem, ListVersion
from app.domain.outcome import FavoriteNotFound
from app.domain.product import ProductId
from app.domain.queries import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFavorite:
    """Read one favorite."""

    queries: Queries
    products: ProductReader

    async def __call__(
        self,
        *,
        customer_id: CustomerId,
        product_id: ProductId,
        session: SessionCheck | None = None,
    ) -> tuple[ListVersion, FavoriteItem]:
        """
        Return the favorite with the last known copy of its product, and the list's version.

        :raises InvalidToken: if the session is not valid
        :raises FavoriteNotFound: if the product is not one of the customer's favorites
        """
        found = await self.queries.find_favorite(customer_id, product_id, session=session)
        if found.item is None:
            raise FavoriteNotFound("The product is not one of the customer's favorites")
        self.products.refresh_soon([found.item.cached])
        return found.version, found.item
