import logging
from dataclasses import dataclass

from app.application.ports import Clock, PasswordHasher
from app.application.throttle import given_back_if_busy, take_attempts
from app.domain.access import CustomerPrincipal
from app.domain.customer import Password
from app.domain.outcome import CustomerNotFound, WrongPassword
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.throttle import AccessThrottles, email_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePassword:
    """Replace the caller's own password."""

    queries: Queries
    uow: UnitOfWorkFactory
    hasher: PasswordHasher
    common_passwords: frozenset[str]
    throttles: AccessThrottles
    clock: Clock

    async def __call__(
        self, *, principal: CustomerPrincipal, current_password: str, new_password: str
    ) -> None:
        """
        Set the new password and end all other sessions.

        :raises WrongPassword: if the current password is wrong
        :raises WeakPassword: if the new one is not acceptable
        :raises TooManyAttempts: if too many attempts with a wrong password failed
        :raises HashingBusy: if too many passwords are being hashed
        :raises CustomerNotFound: if the account was deleted meanwhile
        """
        customer = await self.queries.find_customer(principal.customer_id)
        if customer is None:
            raise CustomerNotFound
        chosen = Password.chosen(new_password, email=customer.email, common=self.common_passwords)
        attempts = await take_attempts(
            self.uow,
            (email_key("change-password", customer.email), self.throttles.sign_in_email),
            now=self.clock(),
        )
        known = customer.password_hash
        async with given_back_if_busy(self.uow, attempts):
            if not await self.hasher.verify(Password(current_password), known):
                logger.warning(
                    "password_change_refused", extra={"customer_id": str(principal.customer_id)}
                )
                raise WrongPassword("The current password is wrong")
            password_hash = await self.hasher.hash(chosen)
        now = self.clock()
        async with self.uow() as work:
            current = await work.customers.lock(principal.customer_id)
            if current is None:
                raise CustomerNotFound
            if current.password_hash != known:
                # It was changed while the old one was being verified.
                raise WrongPassword("The current password is wrong")
            await work.customers.save(current.with_password(password_hash, now=now))
            await work.sessions.end_all(principal.customer_id, now=now, keep=principal.session_id)
            for attempt in attempts:
                await work.throttles.give_back(attempt)
            await work.commit()
        logger.info("password_changed", extra={"customer_id": str(principal.customer_id)})
