import logging
from dataclasses import dataclass

from app.application.ports import Clock, NewId, PasswordHasher
from app.application.throttle import given_back_if_busy, take_attempts
from app.domain.customer import Customer, CustomerId, Email, Password, checked_name
from app.domain.repository import UnitOfWorkFactory
from app.domain.throttle import AccessThrottles, ip_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignUp:
    """Register a customer at their own request."""

    uow: UnitOfWorkFactory
    hasher: PasswordHasher
    common_passwords: frozenset[str]
    throttles: AccessThrottles
    clock: Clock
    new_id: NewId

    async def __call__(self, *, name: str, email: str, password: str, ip: str) -> Customer:
        """
        Register a customer, never an administrator.

        :raises InvalidName: if the name is not acceptable
        :raises InvalidEmail: if the address is not valid
        :raises WeakPassword: if the password is not acceptable
        :raises TooManyAttempts: if this client signed up too often
        :raises HashingBusy: if too many passwords are being hashed
        :raises EmailTaken: if the address, case aside, has an account
        """
        name, address = checked_name(name), Email.parse(email)
        chosen = Password.chosen(password, email=address, common=self.common_passwords)
        now = self.clock()
        attempts = await take_attempts(
            self.uow, (ip_key("sign-up", ip), self.throttles.sign_up_ip), now=now
        )
        async with given_back_if_busy(self.uow, attempts):
            password_hash = await self.hasher.hash(chosen)
        customer = Customer.register(
            id=CustomerId(self.new_id()),
            name=name,
            email=address,
            password_hash=password_hash,
            now=now,
        )
        async with self.uow() as work:
            await work.customers.add(customer)
            await work.commit()
        logger.info("customer_signed_up", extra={"customer_id": str(customer.id)})
        return customer
