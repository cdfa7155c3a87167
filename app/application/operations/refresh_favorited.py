import logging
from dataclasses import dataclass
from datetime import timedelta

from app.application.catalog.product_reader import ProductReader
from app.application.ports import Clock
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshFavorited:
    """Ask anew for what somebody favorited before the copy outlives its hard TTL."""

    uow: UnitOfWorkFactory
    products: ProductReader
    clock: Clock
    older_than: timedelta

    async def __call__(self) -> bool:
        """
        Refresh the whole catalog in one call if a favorited product needs it; tell whether.

        :raises CatalogUnavailable: if the catalog cannot be asked
        """
        async with self.uow() as work:
            due = await work.products.list_favorited(
                fetched_before=self.clock() - self.older_than, limit=1
            )
        if not due:
            return False
        await self.products.refresh_all()
        return True
