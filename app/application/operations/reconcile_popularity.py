import logging
from dataclasses import dataclass

from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePopularity:
    """Count anew how many customers favor each product, should a count ever be wrong."""

    uow: UnitOfWorkFactory

    async def __call__(self) -> None:
        """Repair the counts; a repair is a warning, since none should be needed."""
        async with self.uow() as work:
            repaired = await work.popularity.reconcile()
            await work.commit()
        if repaired:
            logger.warning("popularity_repaired", extra={"products": repaired})
