from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from app.application.catalog.product_reader import ProductReader
from app.application.ports import Clock
from app.application.recent_reads import RecentReads
from app.domain.access import SessionCheck
from app.domain.favorite import FavoriteItem, FavoriteQuery, ListVersion
from app.domain.page import Page
from app.domain.product import CachePolicy
from app.domain.queries import Queries


class FavoritesRead(NamedTuple):
    """The version of a list and a page of it; None if the caller holds the page already."""

    version: ListVersion
    page: Page[FavoriteItem] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFavorites:
    """Show a customer's favorites with their products, without waiting for the catalog."""

    queries: Queries
    products: ProductReader
    clock: Clock
    policy: CachePolicy
    recent: RecentReads[FavoriteQuery] = field(default_factory=RecentReads)

    async def __call__(
        self,
        query: FavoriteQuery,
        *,
        session: SessionCheck | None = None,
        held: Callable[[ListVersion], bool] | None = None,
    ) -> FavoritesRead:
        """
        Return a page of the favorites that match.

        `held` tells whether the caller holds the page of a version. Then the page is not read,
        except once in `CachePolicy.revalidation_interval`: reading it refreshes copies of products
        that are due, also for clients that only revalidate.

        :raises InvalidToken: if the session is not valid
        :raises CustomerNotFound: if there is no such customer
        """
        now = self.clock()
        if held is not None and self.recent.noted_since(
            query, now - self.policy.revalidation_interval
        ):
            version = await self.queries.list_version(query.customer_id, session=session)
            if held(version):
                return FavoritesRead(version, None)
        version, page = await self.queries.list_favorites(query, session=session)
        self.recent.note(query, now)
        self.products.refresh_soon(item.cached for item in page.items)
        return FavoritesRead(version, page)
