import logging
from dataclasses import dataclass
from datetime import timedelta

from app.application.ports import Clock
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """
    Erase data that has outlived its purpose.

    Ended sessions are kept for `sessions_kept`, so that the late reuse of a stolen token is still
    recognized. A removed favorite can be restored within `undo_window`; the removal itself is
    reported to clients that synchronize within `removals_kept`. Throttles are kept for
    `throttles_kept`, at least as long as the longest window.
    """

    uow: UnitOfWorkFactory
    clock: Clock
    sessions_kept: timedelta
    throttles_kept: timedelta
    undo_window: timedelta
    removals_kept: timedelta

    async def __call__(self) -> None:
        """Erase old sessions, throttles and remembered absences."""
        now = self.clock()
        async with self.uow() as work:
            sessions = await work.sessions.purge(before=now - self.sessions_kept)
            throttles = await work.throttles.purge(before=now - self.throttles_kept)
            removals = await work.favorites.forget_removed(
                restorable_since=now - self.undo_window, since=now - self.removals_kept
            )
            unknown = await work.products.purge_unknown(now=now)
            await work.commit()
        logger.info(
            "purged",
            extra={
                "sessions": sessions,
                "throttles": throttles,
                "removals": removals,
                "unknown_products": unknown,
            },
        )
