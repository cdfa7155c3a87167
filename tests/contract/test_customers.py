from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.customer import Customer, CustomerQuery, CustomerSort, Email, Role, fold
from app.domain.favorite import FavoriteQuery
from app.domain.outcome import CustomerNotFound, EmailTaken, PreconditionFailed
from app.domain.page import Page, Position
from app.domain.product import ProductId
from app.domain.queries import Queries
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from app.domain.writes import FavoriteWrites, SignInWrites
from tests import make
from tests.contract.favorites import add
from tests.contract.step import do, on_storage, see, side_by_side, walk
from tests.make import HOUR, NOW, PASSWORD_HASH, SECOND

TICK = timedelta(microseconds=1)


async def stored(uow: UnitOfWorkFactory, *customers: Customer) -> None:
    async with uow() as work:
        for customer in customers:
            await work.customers.add(customer)
        await work.commit()


async def listed(queries: Queries, query: CustomerQuery) -> list[Customer]:
    return list((await queries.list_customers(query)).items)


async def with_address(queries: Queries, email: str) -> list[Customer]:
    return await listed(queries, CustomerQuery(email=email))


def renamed(customer: Customer, name: str) -> Customer:
    return customer.changed(name=name, email=None, now=customer.updated_at + SECOND)


class TestCustomers:
    @pytest.mark.parametrize("role", list(Role))
    async def test_are_returned_as_they_were_stored(
        self, uow: UnitOfWorkFactory, queries: Queries, role: Role
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
        assert await queries.find_customer(customer.id) == customer

    async def test_may_have_no_password(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        customer = make.customer(password_hash=None)
        await stored(uow, customer)
        assert await queries.find_customer(customer.id) == customer

    async def test_are_none_if_unknown(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        assert await queries.find_customer(make.customer_id()) is None
        assert await queries.find_records(make.customer_id()) is None
        assert await with_address(queries, "unknown@example.com") == []
        async with uow() as work:
            assert await work.customers.get(make.customer_id()) is None
            assert await work.customers.lock(make.customer_id()) is None

    async def test_are_found_by_their_address_case_aside(
        self, uow: UnitOfWorkFactory, queries: Queries, sign_in_writes: SignInWrites
    ) -> None:
        customer = make.customer(email="Ana.Straße@Example.com")
        await stored(uow, customer)
        assert await with_address(queries, "ANA.STRASSE@EXAMPLE.COM") == [customer]
        key = Email("ANA.STRASSE@EXAMPLE.COM").key
        assert await sign_in_writes.take_attempts(key, now=NOW) == ([], customer)

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

    async def test_are_replaced(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        customer = make.customer()
        await stored(uow, customer)
        changed = replace(
            customer.changed(name="Bia", email=Email("bia@example.com"), now=NOW + HOUR),
            password_hash=None,
            role=Role.ADMIN,
        )
        await do(uow, lambda work: work.customers.save(changed))
        assert await see(uow, lambda work: work.customers.get(customer.id)) == changed
        assert await queries.find_customer(customer.id) == changed
        assert await with_address(queries, "bia@example.com") == [changed]
        assert await with_address(queries, customer.email.value) == []

    async def test_can_change_the_case_of_their_own_address(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        customer = make.customer(email="ana@example.com")
        await stored(uow, customer)
        changed = customer.changed(name=None, email=Email("Ana@example.com"), now=NOW)
        await do(uow, lambda work: work.customers.save(changed))
        assert await queries.find_customer(customer.id) == changed

    async def test_leave_a_given_up_address_to_others(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer(email="ana@example.com")
        await stored(uow, customer)
        changed = customer.changed(name=None, email=Email("bia@example.com"), now=NOW)
        await do(uow, lambda work: work.customers.save(changed))
        await stored(uow, make.customer(email="ana@example.com"))

    async def test_cannot_change_to_a_taken_address(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        customer, other = make.customer(), make.customer(email="bia@example.com")
        await stored(uow, customer, other)
        changed = customer.changed(name=None, email=Email("BIA@example.com"), now=NOW)
        with pytest.raises(EmailTaken):
            await do(uow, lambda work: work.customers.save(changed))
        assert await queries.find_customer(customer.id) == customer

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

    async def test_wait_for_each_other_when_locked(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        customer = make.customer()
        await stored(uow, customer)

        async def rename(work: UnitOfWork) -> None:
            locked = await work.customers.lock(customer.id)
            assert locked is not None
            await work.customers.save(renamed(locked, f"{locked.name}!"))

        assert await side_by_side(5, uow, rename) == [None] * 5
        final = await queries.find_customer(customer.id)
        assert final is not None
        assert (final.name, final.version) == (f"{customer.name}!!!!!", 6)


class TestRemovedCustomers:
    async def test_are_gone_with_all_their_data(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        customer, other = make.customer(), make.customer()
        await stored(uow, customer, other)
        tokens, sessions = {}, {}
        for each in (customer, other):
            session = sessions[each.id] = make.session(customer_id=each.id)
            token = tokens[each.id] = make.refresh_token(session_id=session.id)
            await sign_in_writes.begin_session(
                session, token, password_hash=PASSWORD_HASH, attempts=()
            )
            await add(favorite_writes, make.favorite(customer_id=each.id, product_id=5))

        assert await do(uow, lambda work: work.customers.remove(customer.id))

        product_id = ProductId(5)
        assert await queries.find_customer(customer.id) is None
        assert await queries.find_records(customer.id) is None
        assert await queries.find_principal(sessions[customer.id].id, now=NOW) is None
        assert (await queries.find_favorite(customer.id, product_id)).item is None
        with pytest.raises(CustomerNotFound):
            await queries.list_sessions(customer.id, now=NOW)
        with pytest.raises(CustomerNotFound):
            await queries.list_favorites(FavoriteQuery(customer_id=customer.id))
        assert await queries.find_customer(other.id) == other
        assert await queries.list_sessions(other.id, now=NOW) == [sessions[other.id]]
        assert (await queries.find_favorite(other.id, product_id)).item is not None
        async with uow() as work:
            assert await work.customers.get(customer.id) is None
            assert await work.sessions.get(sessions[customer.id].id) is None
            assert await work.sessions.lock_family(tokens[customer.id].hash) is None
            assert await work.customers.get(other.id) == other
            assert await work.sessions.get(sessions[other.id].id) == sessions[other.id]
            assert await work.sessions.lock_family(tokens[other.id].hash) is not None

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


# The characters around the surrogates, which are none, and the last ones there are.
EXTREMES = st.text(alphabet="a\ud7ff\ue000\U0010fffe\U0010ffff", max_size=3)


class TestListedCustomers:
    async def test_are_all_of_them_oldest_first_by_default(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        young = make.customer(created_at=NOW + TICK)
        old = make.customer(created_at=NOW)
        await stored(uow, young, old)
        assert await listed(queries, CustomerQuery()) == [old, young]

    async def test_have_the_address_asked_for(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        ana = make.customer(email="Ana@example.com")
        await stored(uow, ana, make.customer(email="ana@example.com.br"))
        assert await listed(queries, CustomerQuery(email="aNA@EXAMPLE.com")) == [ana]
        assert await listed(queries, CustomerQuery(email="ana")) == []

    async def test_have_names_that_begin_so(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        lower, upper = make.customer(name="ána maria"), make.customer(name="ÁNA Paula")
        await stored(uow, lower, upper, make.customer(name="Mariána"), make.customer(name="Ana"))
        assert await listed(queries, CustomerQuery(name="Ána")) == [lower, upper]
        assert await listed(queries, CustomerQuery(name="ána m")) == [lower]

    @pytest.mark.parametrize("special", ["%", "_", "\\", "100%", "a_b", "a\\", "'", ".*", "["])
    async def test_have_names_that_begin_with_just_that(
        self, uow: UnitOfWorkFactory, queries: Queries, special: str
    ) -> None:
        meant = make.customer(name=f"{special}x")
        await stored(uow, meant, make.customer(name="100 axb"), make.customer(name="a1b x"))
        assert await listed(queries, CustomerQuery(name=special)) == [meant]

    @given(names=st.lists(EXTREMES, max_size=6), prefix=EXTREMES)
    @on_storage
    async def test_have_names_that_begin_so_up_to_the_last_character_there_is(
        self, uow: UnitOfWorkFactory, queries: Queries, names: list[str], prefix: str
    ) -> None:
        family = f"{make.uuid()}"
        customers = [make.customer(name=family + name) for name in names]
        await stored(uow, *customers)
        assert await listed(queries, CustomerQuery(name=family + prefix, limit=10)) == [
            customer for customer in customers if customer.name.startswith(family + prefix)
        ]

    @pytest.mark.parametrize("prefix", ["", "\U0010ffff", "\U0010ffff\U0010ffff"])
    async def test_have_names_that_begin_with_what_nothing_comes_after(
        self, uow: UnitOfWorkFactory, queries: Queries, prefix: str
    ) -> None:
        meant, other = make.customer(name="\U0010ffff\U0010ffff z"), make.customer(name="a")
        await stored(uow, meant, other)
        expected = [meant] if prefix else [meant, other]
        assert await listed(queries, CustomerQuery(name=prefix)) == expected

    async def test_joined_between_two_moments(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        first, second, third = (make.customer(created_at=NOW + n * TICK) for n in range(3))
        await stored(uow, first, second, third)
        assert await listed(queries, CustomerQuery(created_after=NOW)) == [second, third]
        assert await listed(queries, CustomerQuery(created_before=NOW + 2 * TICK)) == [
            first,
            second,
        ]
        between = CustomerQuery(created_after=NOW, created_before=NOW + 2 * TICK)
        assert await listed(queries, between) == [second]

    async def test_have_the_role_asked_for(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        admin, customer = make.customer(role=Role.ADMIN), make.customer()
        await stored(uow, admin, customer)
        assert await listed(queries, CustomerQuery(role=Role.ADMIN)) == [admin]
        assert await listed(queries, CustomerQuery(role=Role.CUSTOMER)) == [customer]

    async def test_meet_all_conditions(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        admin = make.customer(name="Ana", role=Role.ADMIN)
        await stored(
            uow, admin, make.customer(name="Ana"), make.customer(role=Role.ADMIN, name="B")
        )
        assert await listed(queries, CustomerQuery(name="ana", role=Role.ADMIN)) == [admin]

    async def test_have_a_next_page_only_if_there_are_more(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        await stored(uow, *(make.customer() for _ in range(4)))

        async def page(limit: int, after: Position | None = None) -> Page[Customer]:
            query = CustomerQuery(limit=limit, after=after)
            return await queries.list_customers(query)

        assert (await page(4)).next is None
        first = await page(2)
        assert len(first.items) == 2
        second = await page(2, first.next)
        assert len(second.items) == 2
        assert second.next is None

    async def test_are_an_empty_last_page_if_there_are_none(self, queries: Queries) -> None:
        page = await queries.list_customers(CustomerQuery())
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
        queries: Queries,
        sort: CustomerSort,
        people: list[tuple[str, int]],
        limit: int,
    ) -> None:
        family, customers = _family(people)
        await stored(uow, *customers)
        key, descending = ORDER[sort]
        assert await walk(_pages(queries, family, sort, limit)) == sorted(
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
        queries: Queries,
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

        seen = await walk(_pages(queries, family, sort, limit), something_happens)
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
    queries: Queries, family: str, sort: CustomerSort, limit: int
) -> Callable[[Position | None], Awaitable[Page[Customer]]]:
    async def page_after(after: Position | None) -> Page[Customer]:
        query = CustomerQuery(name=family, sort=sort, limit=limit, after=after)
        return await queries.list_customers(query)

    return page_after
