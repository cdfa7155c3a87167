import logging
from dataclasses import dataclass

from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePopularity:
    """Count again how many customers favor each product."""

    uow: UnitOfWorkFactory

    async def __call__(self) -> None:
        """Repair wrong counts; a repair is logged as a warning, since none should be needed."""
        async with self.uow() as work:
            repaired = await work.popularity.reconcile()
            await work.commit()
        if repaired:
            logger.warning("popularity_repaired", extra={"products": repaired})
