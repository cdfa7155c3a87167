import logging
from dataclasses import dataclass
from datetime import timedelta

from app.application.catalog.catalog_reader import CatalogReader
from app.application.ports import Clock
from app.domain.queries import Queries

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshFavorited:
    """Refresh favorited products before their copies reach the hard TTL."""

    queries: Queries
    catalog: CatalogReader
    clock: Clock
    older_than: timedelta

    async def __call__(self) -> bool:
        """
        Refresh the whole catalog in one call if a favorited product needs it; tell whether.

        :raises CatalogUnavailable: if the catalog cannot be asked
        """
        due = await self.queries.list_favorited(
            fetched_before=self.clock() - self.older_than, limit=1
        )
        if not due:
            return False
        await self.catalog.refresh_all()
        return True
