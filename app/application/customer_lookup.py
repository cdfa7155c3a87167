"""Telling a customer who has nothing from one who is not there."""

from app.domain.customer import Customer, CustomerId
from app.domain.outcome import CustomerNotFound
from app.domain.repository import UnitOfWork


async def existing_customer(work: UnitOfWork, customer_id: CustomerId) -> Customer:
    """
    Return a customer.

    :raises CustomerNotFound: if there is no such customer
    """
    customer = await work.customers.get(customer_id)
    if customer is None:
        raise CustomerNotFound("There is no such customer")
    return customer
