from dataclasses import dataclass

from typing_extensions import override

from app.domain.customer import Customer, CustomerId, CustomerQuery, CustomerSort, fold
from app.domain.outcome import CustomerNotFound, EmailTaken, PreconditionFailed
from app.domain.page import Page, Position
from app.domain.repository import CustomerRepository
from tests.double.storage_table import Transaction, page_of, sortable


@dataclass(frozen=True, slots=True)
class InMemoryCustomerRepository(CustomerRepository):
    _transaction: Transaction

    @override
    async def add(self, customer: Customer) -> None:
        await self._refuse_taken_email(customer)
        self._transaction.tables.customers[customer.id] = customer

    @override
    async def save(self, customer: Customer) -> None:
        stored = await self.lock(customer.id)
        if stored is None:
            raise CustomerNotFound("There is no such customer")
        if stored.version != customer.version - 1:
            raise PreconditionFailed("The customer has changed since they were read")
        await self._refuse_taken_email(customer)
        self._transaction.tables.customers[customer.id] = customer

    async def _refuse_taken_email(self, customer: Customer) -> None:
        await self._transaction.lock("email", customer.email.key)
        owner = await self.find_by_email(customer.email.key)
        if owner is not None and owner.id != customer.id:
            raise EmailTaken("The e-mail address belongs to an account already")

    @override
    async def get(self, customer_id: CustomerId) -> Customer | None:
        return self._transaction.tables.customers.get(customer_id)

    @override
    async def lock(self, customer_id: CustomerId) -> Customer | None:
        await self._transaction.lock("customer", customer_id)
        return await self.get(customer_id)

    @override
    async def find_by_email(self, key: str) -> Customer | None:
        for customer in self._transaction.tables.customers.values():
            if customer.email.key == key:
                return customer
        return None

    @override
    async def list_page(self, query: CustomerQuery) -> Page[Customer]:
        return page_of(
            (c for c in self._transaction.tables.customers.values() if _matches(c, query)),
            by=lambda customer: _position(customer, query.sort),
            descending=query.sort is CustomerSort.NEWEST,
            limit=query.limit,
            after=query.after,
        )

    @override
    async def remove(self, customer_id: CustomerId) -> bool:
        if await self.lock(customer_id) is None:
            return False
        tables = self._transaction.tables
        del tables.customers[customer_id]
        sessions = [s.id for s in tables.sessions.values() if s.customer_id == customer_id]
        for session_id in sessions:
            await self._transaction.lock("session", session_id)
            tables.sessions.pop(session_id, None)
        for token in list(tables.tokens.values()):
            if token.session_id in sessions:
                del tables.tokens[token.hash]
        await self._transaction.lock("list", customer_id)
        tables.lists.pop(customer_id, None)
        for rows in (tables.favorites, tables.tombstones):
            for key in [key for key in rows if key[0] == customer_id]:
                rows.pop(key)
        return True


def _matches(customer: Customer, query: CustomerQuery) -> bool:
    return (
        (query.email is None or customer.email.key == fold(query.email))
        and (query.name is None or fold(customer.name).startswith(fold(query.name)))
        and (query.created_after is None or customer.created_at > query.created_after)
        and (query.created_before is None or customer.created_at < query.created_before)
        and (query.role is None or customer.role is query.role)
    )


def _position(customer: Customer, sort: CustomerSort) -> Position:
    tie = sortable(customer.id)
    match sort:
        case CustomerSort.OLDEST | CustomerSort.NEWEST:
            return (sortable(customer.created_at), tie)
        case CustomerSort.NAME:
            return (fold(customer.name), tie)
        case CustomerSort.EMAIL:
            return (customer.email.key, tie)
