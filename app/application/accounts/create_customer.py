import logging
from dataclasses import dataclass

from app.application.ports import Clock, NewId, PasswordHasher
from app.domain.customer import Customer, CustomerId, Email, Password, Role, checked_name
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCustomer:
    """Register a customer on behalf of internal systems and administrators."""

    uow: UnitOfWorkFactory
    hasher: PasswordHasher
    common_passwords: frozenset[str]
    clock: Clock
    new_id: NewId

    async def __call__(
        self, *, name: str, email: str, password: str | None, role: Role = Role.CUSTOMER
    ) -> Customer:
        """
        Register a customer; without a password signing in to the account is not possible.

        :raises InvalidName: if the name is not acceptable
        :raises InvalidEmail: if the address is not valid
        :raises WeakPassword: if the password is not acceptable
        :raises HashingBusy: if too many passwords are being hashed
        :raises EmailTaken: if the address, case aside, has an account
        """
        name, address = checked_name(name), Email.parse(email)
        password_hash = None
        if password is not None:
            chosen = Password.chosen(password, email=address, common=self.common_passwords)
            password_hash = await self.hasher.hash(chosen)
        customer = Customer.register(
            id=CustomerId(self.new_id()),
            name=name,
            email=address,
            password_hash=password_hash,
            role=role,
            now=self.clock(),
        )
        async with self.uow() as work:
            await work.customers.add(customer)
            await work.commit()
        logger.info(
            "customer_created", extra={"customer_id": str(customer.id), "role": role.value}
        )
        return customer
