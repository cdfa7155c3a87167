from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from typing_extensions import override

from app.application.throttle import take_attempts
from app.domain.customer import Customer, PasswordHash
from app.domain.session import RefreshToken, Session
from app.domain.throttle import Attempt, ThrottleKey, ThrottleRule
from app.domain.writes import SignInWrites
from tests.double.storage import InMemoryStorage


@dataclass(frozen=True, slots=True)
class InMemorySignInWrites(SignInWrites):
    """The writes of signing in, each in a unit of work of its own."""

    _storage: InMemoryStorage

    @override
    async def take_attempts(
        self, email_key: str, *rules: tuple[ThrottleKey, ThrottleRule], now: datetime
    ) -> tuple[Sequence[Attempt], Customer | None]:
        attempts = await take_attempts(self._storage, *rules, now=now)
        for customer in self._storage.tables.customers.values():
            if customer.email.key == email_key:
                return attempts, customer
        return attempts, None

    @override
    async def begin_session(
        self,
        session: Session,
        token: RefreshToken,
        *,
        password_hash: PasswordHash,
        attempts: Sequence[Attempt],
    ) -> Customer | None:
        async with self._storage() as work:
            customer = await work.customers.lock(session.customer_id)
            if customer is None or customer.password_hash != password_hash:
                return None
            work.tables.sessions[session.id] = session
            await work.sessions.add_token(token)
            for attempt in attempts:
                await work.throttles.give_back(attempt)
            await work.commit()
            return customer
