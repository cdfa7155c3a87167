from dataclasses import dataclass

from typing_extensions import override

from app.domain.customer import Customer, CustomerId
from app.domain.outcome import CustomerNotFound, EmailTaken, PreconditionFailed
from app.domain.repository import CustomerRepository
from tests.double.storage_table import Transaction


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
            raise CustomerNotFound
        if stored.version != customer.version - 1:
            raise PreconditionFailed("The customer has changed since they were read")
        await self._refuse_taken_email(customer)
        self._transaction.tables.customers[customer.id] = customer

    async def _refuse_taken_email(self, customer: Customer) -> None:
        await self._transaction.lock("email", customer.email.key)
        for other in self._transaction.tables.customers.values():
            if other.email.key == customer.email.key and other.id != customer.id:
                raise EmailTaken("The e-mail address belongs to an account already")

    @override
    async def get(self, customer_id: CustomerId) -> Customer | None:
        return self._transaction.tables.customers.get(customer_id)

    @override
    async def lock(self, customer_id: CustomerId) -> Customer | None:
        await self._transaction.lock("customer", customer_id)
        return await self.get(customer_id)

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
