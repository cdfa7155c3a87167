import logging
from dataclasses import dataclass

from app.application.ports import Clock
from app.domain.access import CustomerPrincipal
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOut:
    """End the caller's session."""

    uow: UnitOfWorkFactory
    clock: Clock

    async def __call__(self, *, principal: CustomerPrincipal) -> None:
        """End the session; its access tokens are refused from then on."""
        async with self.uow() as work:
            session = await work.sessions.get(principal.session_id)
            if session is not None:
                await work.sessions.save(session.ended(self.clock()))
            await work.commit()
        logger.info(
            "signed_out",
            extra={
                "customer_id": str(principal.customer_id),
                "session_id": str(principal.session_id),
            },
        )
