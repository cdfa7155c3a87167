import logging
from collections.abc import Sequence
from dataclasses import dataclass

from app.application.ports import Clock
from app.domain.customer import CustomerId
from app.domain.outcome import CustomerNotFound, SessionNotFound
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.session import Session, SessionId

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageSessions:
    """List and end the sessions of an account."""

    queries: Queries
    uow: UnitOfWorkFactory
    clock: Clock

    async def list_active(self, *, customer_id: CustomerId) -> Sequence[Session]:
        """
        Return the customer's active sessions, last used first.

        :raises CustomerNotFound: if there is no such customer
        """
        return await self.queries.list_sessions(customer_id, now=self.clock())

    async def end_all(self, *, customer_id: CustomerId) -> None:
        """
        End all sessions of a customer, the current one included.

        :raises CustomerNotFound: if there is no such customer
        """
        async with self.uow() as work:
            ended = await work.sessions.end_all(customer_id, now=self.clock())
            if not ended and await work.customers.get(customer_id) is None:
                raise CustomerNotFound
            await work.commit()
        logger.info("sessions_ended", extra={"customer_id": str(customer_id)})

    async def end(self, *, customer_id: CustomerId, session_id: SessionId) -> None:
        """
        End one session of a customer.

        :raises SessionNotFound: if the customer has no such active session
        """
        now = self.clock()
        async with self.uow() as work:
            session = await work.sessions.get(session_id)
            if session is None or session.customer_id != customer_id or not session.active(now):
                raise SessionNotFound("There is no such session")
            await work.sessions.save(session.ended(now))
            await work.commit()
        logger.info(
            "session_ended",
            extra={"customer_id": str(customer_id), "session_id": str(session_id)},
        )
