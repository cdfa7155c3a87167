from dataclasses import dataclass

from app.application.catalog.product_reader import ProductReader
from app.domain.access import SessionCheck
from app.domain.customer import CustomerId
from app.domain.queries import ProfileRead, Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadProfile:
    """Give a front end everything its first screen shows in one answer."""

    queries: Queries
    products: ProductReader

    async def __call__(
        self, *, customer_id: CustomerId, limit: int, session: SessionCheck | None = None
    ) -> ProfileRead:
        """
        Return the customer and the newest favorites.

        :raises InvalidToken: if the session is not valid
        :raises CustomerNotFound: if there is no such customer
        """
        profile = await self.queries.find_profile(customer_id, limit=limit, session=session)
        self.products.refresh_soon(item.cached for item in profile.page.items)
        return profile
