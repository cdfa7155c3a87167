from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.customer import Customer, CustomerQuery, CustomerSort, Email, Role, fold
from app.domain.outcome import CustomerNotFound, EmailTaken, PreconditionFailed
from app.domain.page import Page, Position
from app.domain.product import ProductId
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from tests import make
from tests.contract.step import do, on_storage, see, side_by_side, walk
from tests.make import HOUR, NOW, PLENTY, SECOND

TICK = timedelta(microseconds=1)


async def stored(uow: UnitOfWorkFactory, *customers: Customer) -> None:
    async with uow() as work:
        for customer in customers:
            await work.customers.add(customer)
        await work.commit()


async def listed(uow: UnitOfWorkFactory, query: CustomerQuery) -> list[Customer]:
    page = await see(uow, lambda work: work.customers.list_page(query))
    return list(page.items)


def renamed(customer: Customer, name: str) -> Customer:
    return customer.changed(name=name, email=None, now=customer.updated_at + SECOND)


class TestCustomers:
    @pytest.mark.parametrize("role", list(Role))
    async def test_are_returned_as_they_were_stored(
        self, uow: UnitOfWorkFactory, role: Role
    ) -> None:
        customer = make.customer(
            name="Zoë 👩‍👩‍👧 da Conceição",
            email="João.Silva@exämple.com",
            role=role,
            created_at=NOW + TICK,
            updated_at=NOW + HOUR,
            version=7,
        )
        await stored(uow, customer)
        assert await see(uow, lambda work: work.customers.get(customer.id)) == customer

    async def test_may_have_no_password(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer(password_hash=None)
        await stored(uow, customer)
        assert await see(uow, lambda work: work.customers.get(customer.id)) == customer

    async def test_are_none_if_unknown(self, uow: UnitOfWorkFactory) -> None:
        async with uow() as work:
            assert await work.customers.get(make.customer_id()) is None
            assert await work.customers.lock(make.customer_id()) is None
            assert await work.customers.find_by_email("nobody@example.com") is None

    async def test_are_found_by_their_address_case_aside(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer(email="Ana.Straße@Example.com")
        await stored(uow, customer)
        key = Email("ANA.STRASSE@EXAMPLE.COM").key
        assert await see(uow, lambda work: work.customers.find_by_email(key)) == customer

    @pytest.mark.parametrize("again", ["ana@example.com", "ANA@Example.COM"])
    async def test_refuse_a_taken_address(self, uow: UnitOfWorkFactory, again: str) -> None:
        await stored(uow, make.customer(email="ana@example.com"))
        with pytest.raises(EmailTaken):
            await stored(uow, make.customer(email=again))

    async def test_refuse_an_address_taken_in_the_same_unit(self, uow: UnitOfWorkFactory) -> None:
        with pytest.raises(EmailTaken):
            await stored(
                uow, make.customer(email="ana@example.com"), make.customer(email="Ana@example.com")
            )

    async def test_give_an_address_to_one_of_many_side_by_side(
        self, uow: UnitOfWorkFactory
    ) -> None:
        results = await side_by_side(
            5, uow, lambda work: work.customers.add(make.customer(email="ana@example.com"))
        )
        assert results.count(None) == 1
        assert [type(r) for r in results if r is not None] == [EmailTaken] * 4

    async def test_are_replaced(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()
        await stored(uow, customer)
        changed = replace(
            customer.changed(name="Bia", email=Email("bia@example.com"), now=NOW + HOUR),
            password_hash=None,
            role=Role.ADMIN,
        )
        await do(uow, lambda work: work.customers.save(changed))
        async with uow() as work:
            assert await work.customers.get(customer.id) == changed
            assert await work.customers.find_by_email("bia@example.com") == changed
            assert await work.customers.find_by_email(customer.email.key) is None

    async def test_can_change_the_case_of_their_own_address(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer(email="ana@example.com")
        await stored(uow, customer)
        changed = customer.changed(name=None, email=Email("Ana@example.com"), now=NOW)
        await do(uow, lambda work: work.customers.save(changed))
        assert await see(uow, lambda work: work.customers.get(customer.id)) == changed

    async def test_leave_a_given_up_address_to_others(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer(email="ana@example.com")
        await stored(uow, customer)
        changed = customer.changed(name=None, email=Email("bia@example.com"), now=NOW)
        await do(uow, lambda work: work.customers.save(changed))
        await stored(uow, make.customer(email="ana@example.com"))

    async def test_cannot_change_to_a_taken_address(self, uow: UnitOfWorkFactory) -> None:
        customer, other = make.customer(), make.customer(email="bia@example.com")
        await stored(uow, customer, other)
        changed = customer.changed(name=None, email=Email("BIA@example.com"), now=NOW)
        with pytest.raises(EmailTaken):
            await do(uow, lambda work: work.customers.save(changed))
        assert await see(uow, lambda work: work.customers.get(customer.id)) == customer

    async def test_cannot_be_replaced_if_unknown(self, uow: UnitOfWorkFactory) -> None:
        with pytest.raises(CustomerNotFound):
            await do(uow, lambda work: work.customers.save(make.customer(version=2)))

    @pytest.mark.parametrize("version", [1, 2, 4, 5])
    async def test_are_replaced_only_by_the_next_version(
        self, uow: UnitOfWorkFactory, version: int
    ) -> None:
        customer = make.customer(version=2)
        await stored(uow, customer)
        with pytest.raises(PreconditionFailed):
            await do(uow, lambda work: work.customers.save(replace(customer, version=version)))
        await do(uow, lambda work: work.customers.save(replace(customer, version=3)))

    async def test_lose_no_change_side_by_side(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()
        await stored(uow, customer)
        results = await side_by_side(
            5, uow, lambda work: work.customers.save(renamed(customer, "Bia"))
        )
        assert results.count(None) == 1
        assert [type(r) for r in results if r is not None] == [PreconditionFailed] * 4

    async def test_wait_for_each_other_when_locked(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()
        await stored(uow, customer)

        async def rename(work: UnitOfWork) -> None:
            locked = await work.customers.lock(customer.id)
            assert locked is not None
            await work.customers.save(renamed(locked, f"{locked.name}!"))

        assert await side_by_side(5, uow, rename) == [None] * 5
        final = await see(uow, lambda work: work.customers.get(customer.id))
        assert final is not None
        assert (final.name, final.version) == (f"{customer.name}!!!!!", 6)


class TestRemovedCustomers:
    async def test_are_gone_with_all_that_was_theirs(self, uow: UnitOfWorkFactory) -> None:
        customer, other = make.customer(), make.customer()
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        others_session = make.session(customer_id=other.id)
        others_token = make.refresh_token(session_id=others_session.id)
        await stored(uow, customer, other)
        async with uow() as work:
            await work.sessions.add(session, token)
            await work.sessions.add(others_session, others_token)
            await work.favorites.put(
                make.favorite(customer_id=customer.id, product_id=5), at_most=PLENTY
            )
            await work.favorites.put(
                make.favorite(customer_id=other.id, product_id=5), at_most=PLENTY
            )
            await work.commit()

        assert await do(uow, lambda work: work.customers.remove(customer.id))

        async with uow() as work:
            assert await work.customers.get(customer.id) is None
            assert await work.sessions.get(session.id) is None
            assert await work.sessions.list_all(customer.id) == []
            assert await work.sessions.lock_family(token.hash) is None
            assert await work.sessions.find_principal(session.id, now=NOW) is None
            assert await work.favorites.get(customer.id, ProductId(5)) is None
            assert await work.favorites.list_all(customer.id) == []

            assert await work.customers.get(other.id) == other
            assert await work.sessions.get(others_session.id) == others_session
            assert await work.sessions.lock_family(others_token.hash) is not None
            assert await work.favorites.get(other.id, ProductId(5)) is not None

    async def test_are_removed_once(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()
        await stored(uow, customer)
        results = await side_by_side(3, uow, lambda work: work.customers.remove(customer.id))
        assert sorted(results, key=str) == [False, False, True]

    async def test_cannot_be_removed_if_unknown(self, uow: UnitOfWorkFactory) -> None:
        assert not await do(uow, lambda work: work.customers.remove(make.customer_id()))

    async def test_leave_their_address_to_others(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()
        await stored(uow, customer)
        await do(uow, lambda work: work.customers.remove(customer.id))
        await stored(uow, make.customer(email=customer.email.value))


class TestListedCustomers:
    async def test_are_all_of_them_oldest_first_by_default(self, uow: UnitOfWorkFactory) -> None:
        young = make.customer(created_at=NOW + TICK)
        old = make.customer(created_at=NOW)
        await stored(uow, young, old)
        assert await listed(uow, CustomerQuery()) == [old, young]

    async def test_have_the_address_asked_for(self, uow: UnitOfWorkFactory) -> None:
        ana = make.customer(email="Ana@example.com")
        await stored(uow, ana, make.customer(email="ana@example.com.br"))
        assert await listed(uow, CustomerQuery(email="aNA@EXAMPLE.com")) == [ana]
        assert await listed(uow, CustomerQuery(email="ana")) == []

    async def test_have_names_that_begin_so(self, uow: UnitOfWorkFactory) -> None:
        lower, upper = make.customer(name="ána maria"), make.customer(name="ÁNA Paula")
        await stored(uow, lower, upper, make.customer(name="Mariána"), make.customer(name="Ana"))
        assert await listed(uow, CustomerQuery(name="Ána")) == [lower, upper]
        assert await listed(uow, CustomerQuery(name="ána m")) == [lower]

    @pytest.mark.parametrize("special", ["%", "_", "\\", "100%", "a_b", "a\\", "'", ".*", "["])
    async def test_have_names_that_begin_with_just_that(
        self, uow: UnitOfWorkFactory, special: str
    ) -> None:
        meant = make.customer(name=f"{special}x")
        await stored(uow, meant, make.customer(name="100 axb"), make.customer(name="a1b x"))
        assert await listed(uow, CustomerQuery(name=special)) == [meant]

    async def test_joined_between_two_moments(self, uow: UnitOfWorkFactory) -> None:
        first, second, third = (make.customer(created_at=NOW + n * TICK) for n in range(3))
        await stored(uow, first, second, third)
        assert await listed(uow, CustomerQuery(created_after=NOW)) == [second, third]
        assert await listed(uow, CustomerQuery(created_before=NOW + 2 * TICK)) == [first, second]
        between = CustomerQuery(created_after=NOW, created_before=NOW + 2 * TICK)
        assert await listed(uow, between) == [second]

    async def test_have_the_role_asked_for(self, uow: UnitOfWorkFactory) -> None:
        admin, customer = make.customer(role=Role.ADMIN), make.customer()
        await stored(uow, admin, customer)
        assert await listed(uow, CustomerQuery(role=Role.ADMIN)) == [admin]
        assert await listed(uow, CustomerQuery(role=Role.CUSTOMER)) == [customer]

    async def test_meet_all_conditions(self, uow: UnitOfWorkFactory) -> None:
        admin = make.customer(name="Ana", role=Role.ADMIN)
        await stored(
            uow, admin, make.customer(name="Ana"), make.customer(role=Role.ADMIN, name="B")
        )
        assert await listed(uow, CustomerQuery(name="ana", role=Role.ADMIN)) == [admin]

    async def test_have_a_next_page_only_if_there_are_more(self, uow: UnitOfWorkFactory) -> None:
        await stored(uow, *(make.customer() for _ in range(4)))

        async def page(limit: int, after: Position | None = None) -> Page[Customer]:
            query = CustomerQuery(limit=limit, after=after)
            return await see(uow, lambda work: work.customers.list_page(query))

        assert (await page(4)).next is None
        first = await page(2)
        assert len(first.items) == 2
        second = await page(2, first.next)
        assert len(second.items) == 2
        assert second.next is None

    async def test_are_an_empty_last_page_if_there_are_none(self, uow: UnitOfWorkFactory) -> None:
        page = await see(uow, lambda work: work.customers.list_page(CustomerQuery()))
        assert list(page.items) == []
        assert page.next is None


ORDER: dict[CustomerSort, tuple[Callable[[Customer], Any], bool]] = {
    CustomerSort.OLDEST: (lambda c: (c.created_at, c.id), False),
    CustomerSort.NEWEST: (lambda c: (c.created_at, c.id), True),
    CustomerSort.NAME: (lambda c: (fold(c.name), c.id), False),
    CustomerSort.EMAIL: (lambda c: c.email.key, False),
}

# Names whose order in a dictionary, by case and by code point differ; many are equal when folded.
NAMES = st.sampled_from(["ana", "Ana", "Álvaro", "álvaro", "Zé", "ana b", "ana-b", "Ana_b", "ß"])
PEOPLE = st.lists(st.tuples(NAMES, st.integers(0, 3)), max_size=9)


class TestPagesOfCustomers:
    @pytest.mark.parametrize("sort", list(CustomerSort))
    @given(people=PEOPLE, limit=st.integers(1, 4))
    @on_storage
    async def test_hold_everybody_once_in_order(
        self,
        uow: UnitOfWorkFactory,
        sort: CustomerSort,
        people: list[tuple[str, int]],
        limit: int,
    ) -> None:
        family, customers = _family(people)
        await stored(uow, *customers)
        key, descending = ORDER[sort]
        assert await walk(_pages(uow, family, sort, limit)) == sorted(
            customers, key=key, reverse=descending
        )

    @pytest.mark.parametrize("sort", list(CustomerSort))
    @given(
        people=PEOPLE,
        limit=st.integers(1, 3),
        changes=st.lists(st.one_of(st.tuples(NAMES, st.integers(0, 3)), st.integers(0, 8))),
    )
    @on_storage
    async def test_neither_repeat_nor_skip_while_people_come_and_go(
        self,
        uow: UnitOfWorkFactory,
        sort: CustomerSort,
        people: list[tuple[str, int]],
        limit: int,
        changes: list[tuple[str, int] | int],
    ) -> None:
        family, customers = _family(people)
        await stored(uow, *customers)
        staying = list(customers)
        pending = list(changes)

        async def something_happens() -> None:
            match pending.pop() if pending else None:
                case (name, age):
                    await stored(uow, _member(family, name, age))
                case int(index) if index < len(staying):
                    gone = staying.pop(index)
                    await do(uow, lambda work: work.customers.remove(gone.id))

        seen = await walk(_pages(uow, family, sort, limit), something_happens)
        key, descending = ORDER[sort]
        assert seen == sorted(seen, key=key, reverse=descending)
        assert len({c.id for c in seen}) == len(seen)
        assert {c.id for c in staying} <= {c.id for c in seen}


def _family(people: list[tuple[str, int]]) -> tuple[str, list[Customer]]:
    """Make customers that can be listed alone, by the prefix they share."""
    family = f"{make.uuid()} "
    return family, [_member(family, name, age) for name, age in people]


def _member(family: str, name: str, age: int) -> Customer:
    return make.customer(name=family + name, created_at=NOW + age * TICK)


def _pages(
    uow: UnitOfWorkFactory, family: str, sort: CustomerSort, limit: int
) -> Callable[[Position | None], Awaitable[Page[Customer]]]:
    async def page_after(after: Position | None) -> Page[Customer]:
        query = CustomerQuery(name=family, sort=sort, limit=limit, after=after)
        return await see(uow, lambda work: work.customers.list_page(query))

    return page_after
