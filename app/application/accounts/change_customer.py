import logging
from dataclasses import dataclass

from app.application.ports import Clock
from app.domain.customer import Customer, CustomerId, Email
from app.domain.outcome import CustomerNotFound, PreconditionFailed
from app.domain.repository import UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeCustomer:
    """Change a customer's name or address."""

    uow: UnitOfWorkFactory
    clock: Clock

    async def __call__(
        self,
        *,
        customer_id: CustomerId,
        name: str | None = None,
        email: str | None = None,
        expected_version: int | None = None,
    ) -> Customer:
        """
        Change the given members.

        :raises InvalidName: if the name is not acceptable
        :raises InvalidEmail: if the address is not valid
        :raises CustomerNotFound: if there is no such customer
        :raises PreconditionFailed: if the stored version is another one
        :raises EmailTaken: if the address, case aside, belongs to another customer
        """
        address = None if email is None else Email.parse(email)
        async with self.uow() as work:
            customer = await work.customers.lock(customer_id)
            if customer is None:
                raise CustomerNotFound
            if expected_version is not None and customer.version != expected_version:
                raise PreconditionFailed("The customer has changed since they were read")
            changed = customer.changed(name=name, email=address, now=self.clock())
            await work.customers.save(changed)
            await work.commit()
        logger.info("customer_changed", extra={"customer_id": str(customer_id)})
        return changed
