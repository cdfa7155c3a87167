from dataclasses import dataclass

from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select, update
from typing_extensions import override

from app.domain.customer import Customer, CustomerId
from app.domain.outcome import CustomerNotFound, EmailTaken, PreconditionFailed
from app.domain.repository import CustomerRepository
from app.infra.postgres.failure import violated_constraint
from app.infra.postgres.orm.customer import CustomerRow
from app.infra.postgres.orm.session import SessionRow
from app.infra.postgres.repository import favorite_sql
from app.infra.postgres.rows import CUSTOMER_COLUMNS, read_customer
from app.infra.postgres.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PostgresCustomerRepository(CustomerRepository):
    _transaction: Transaction

    @override
    async def add(self, customer: Customer) -> None:
        added = await self._transaction.write(
            insert(CustomerRow)
            .values(CustomerRow.from_entity(customer).model_dump())
            .on_conflict_do_nothing(constraint="uq_customers_email_key")
        )
        if not added:
            raise EmailTaken("The e-mail address belongs to an account already")

    @override
    async def save(self, customer: Customer) -> None:
        try:
            async with self._transaction.savepoint():
                saved = await self._transaction.write(
                    update(CustomerRow)
                    .where(
                        col(CustomerRow.id) == customer.id,
                        col(CustomerRow.version) == customer.version - 1,
                    )
                    .values(CustomerRow.from_entity(customer).model_dump(exclude={"id"}))
                )
        except IntegrityError as error:
            if violated_constraint(error) != "uq_customers_email_key":
                raise
            raise EmailTaken("The e-mail address belongs to an account already") from error
        if not saved:
            if await self.get(customer.id) is None:
                raise CustomerNotFound
            raise PreconditionFailed("The customer has changed since they were read")

    @override
    async def get(self, customer_id: CustomerId) -> Customer | None:
        rows = await self._transaction.sql(_GET, customer_id=customer_id)
        return read_customer(*rows[0]) if rows else None

    @override
    async def lock(self, customer_id: CustomerId) -> Customer | None:
        rows = await self._transaction.sql(_LOCK, customer_id=customer_id)
        return read_customer(*rows[0]) if rows else None

    @override
    async def remove(self, customer_id: CustomerId) -> bool:
        # Not a weaker lock first: its upgrade could wait for a transaction that holds the customer
        # too, and waits for one of the sessions.
        locked = await self._transaction.first(
            select(CustomerRow.id).where(CustomerRow.id == customer_id).with_for_update()
        )
        if locked is None:
            return False
        # In the order of all transactions; the cascade would lock them in the order on disk.
        await self._transaction.all(
            select(SessionRow.id)
            .where(SessionRow.customer_id == customer_id)
            .order_by(col(SessionRow.id))
            .with_for_update()
        )
        # The favorites cannot change any more: a change of them locks the customer too.
        await self._transaction.sql(favorite_sql.DISFAVOR_ALL, customer_id=customer_id)
        await self._transaction.write(
            delete(CustomerRow).where(col(CustomerRow.id) == customer_id)
        )
        return True


_SELECT = f"SELECT {CUSTOMER_COLUMNS} FROM customers AS c WHERE c.id = :customer_id"  # noqa: S608 - constants
_ID = bindparam("customer_id", type_=Uuid())
_GET = text(_SELECT).bindparams(_ID)
# Rows that only refer to the customer can still be added meanwhile.
_LOCK = text(f"{_SELECT} FOR NO KEY UPDATE").bindparams(_ID)
