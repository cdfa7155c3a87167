from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select, update
from typing_extensions import override

from app.domain.customer import Customer, CustomerId, CustomerQuery, CustomerSort, fold
from app.domain.outcome import CustomerNotFound, EmailTaken, PreconditionFailed
from app.domain.page import Page, Position
from app.domain.repository import CustomerRepository
from app.infra.postgres.failure import violated_constraint
from app.infra.postgres.orm.customer import CustomerRow
from app.infra.postgres.orm.session import SessionRow
from app.infra.postgres.repository import favorite_sql
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
                raise CustomerNotFound("There is no such customer")
            raise PreconditionFailed("The customer has changed since they were read")

    @override
    async def get(self, customer_id: CustomerId) -> Customer | None:
        row = await self._transaction.first(
            select(CustomerRow).where(CustomerRow.id == customer_id)
        )
        return row.to_entity() if row else None

    @override
    async def lock(self, customer_id: CustomerId) -> Customer | None:
        row = await self._transaction.first(
            # Rows that only refer to the customer can still be added meanwhile.
            select(CustomerRow)
            .where(CustomerRow.id == customer_id)
            .with_for_update(key_share=True)
        )
        return row.to_entity() if row else None

    @override
    async def find_by_email(self, key: str) -> Customer | None:
        row = await self._transaction.first(
            select(CustomerRow).where(CustomerRow.email_key == key)
        )
        return row.to_entity() if row else None

    @override
    async def list_page(self, query: CustomerQuery) -> Page[Customer]:
        columns, descending = _ORDERS[query.sort]
        statement = select(CustomerRow).where(*_conditions(query))
        if query.after is not None:
            place, start = tuple_(*columns), _start(query.sort, query.after)
            statement = statement.where(place < start if descending else place > start)
        rows = await self._transaction.all(
            statement.order_by(*(c.desc() if descending else c for c in columns)).limit(
                query.limit + 1
            )
        )
        customers = [row.to_entity() for row in rows[: query.limit]]
        more = len(rows) > query.limit
        return Page(items=customers, next=_position(customers[-1], query.sort) if more else None)

    @override
    async def remove(self, customer_id: CustomerId) -> bool:
        # At once the lock that deleting needs: a weaker one first could not be made stronger while
        # somebody who holds the customer waits for one of the sessions.
        locked = await self._transaction.first(
            select(CustomerRow.id).where(CustomerRow.id == customer_id).with_for_update()
        )
        if locked is None:
            return False
        # In the order in which everybody locks sessions; the cascade would take them as they lie.
        await self._transaction.all(
            select(SessionRow.id)
            .where(SessionRow.customer_id == customer_id)
            .order_by(col(SessionRow.id))
            .with_for_update()
        )
        # Nobody changes their favorites any more: that takes a lock on the customer, too.
        await self._transaction.sql(favorite_sql.DISFAVOR_ALL, customer_id=customer_id)
        await self._transaction.write(
            delete(CustomerRow).where(col(CustomerRow.id) == customer_id)
        )
        return True


_CREATED = (col(CustomerRow.created_at), col(CustomerRow.id))
_ORDERS = {
    CustomerSort.OLDEST: (_CREATED, False),
    CustomerSort.NEWEST: (_CREATED, True),
    CustomerSort.NAME: ((col(CustomerRow.name_key), col(CustomerRow.id)), False),
    CustomerSort.EMAIL: ((col(CustomerRow.email_key),), False),
}


def _conditions(query: CustomerQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.email is not None:
        conditions.append(col(CustomerRow.email_key) == fold(query.email))
    if query.name is not None:
        # Over the collation "C" this is a range of the index (PostgreSQL 15).
        conditions.append(func.starts_with(col(CustomerRow.name_key), fold(query.name)))
    if query.created_after is not None:
        conditions.append(col(CustomerRow.created_at) > query.created_after)
    if query.created_before is not None:
        conditions.append(col(CustomerRow.created_at) < query.created_before)
    if query.role is not None:
        conditions.append(col(CustomerRow.role) == query.role.value)
    return conditions


def _position(customer: Customer, sort: CustomerSort) -> Position:
    match sort:
        case CustomerSort.OLDEST | CustomerSort.NEWEST:
            return (customer.created_at.isoformat(), str(customer.id))
        case CustomerSort.NAME:
            return (fold(customer.name), str(customer.id))
        case CustomerSort.EMAIL:
            return (customer.email.key,)


def _start(sort: CustomerSort, after: Position) -> tuple[datetime | str | UUID, ...]:
    key, *ties = (part or "" for part in after)
    first = datetime.fromisoformat(key) if sort in _BY_TIME else key
    return (first, *(UUID(tie) for tie in ties))


_BY_TIME = {CustomerSort.OLDEST, CustomerSort.NEWEST}
