from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from typing_extensions import override

from app.application.throttle import take_attempts
from app.domain.customer import Customer, PasswordHash
from app.domain.repository import SignIns, UnitOfWorkFactory
from app.domain.session import RefreshToken, Session
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule


@dataclass(frozen=True, slots=True)
class UnitSignIns(SignIns):
    """Sign-ins by units of work: what they are to do, at the price of a transaction each."""

    uow: UnitOfWorkFactory

    @override
    async def attempt(
        self, email_key: str, *rules: tuple[ThrottleKey, ThrottleRule], now: datetime
    ) -> tuple[Sequence[Attempt], Customer | None]:
        attempts = await take_attempts(self.uow, *rules, now=now)
        async with self.uow() as work:
            return attempts, await work.customers.find_by_email(email_key)

    @override
    async def begin(
        self,
        session: Session,
        token: RefreshToken,
        *,
        known: PasswordHash,
        attempts: Sequence[Attempt],
    ) -> Customer | None:
        async with self.uow() as work:
            customer = await work.customers.lock(session.customer_id)
            if customer is None or customer.password_hash != known:
                return None
            await work.sessions.add(session, token)
            for attempt in attempts:
                await work.throttles.give_back(attempt)
            await work.commit()
            return customer
