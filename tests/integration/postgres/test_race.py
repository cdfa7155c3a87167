"""
Races, on PostgreSQL alone: the in-memory double has one thread and nothing to prove here.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.customer import Customer, CustomerId, CustomerQuery
from app.domain.favorite import ChangePosition, FavoriteQuery, Snapshot
from app.domain.job import ValidateProduct
from app.domain.outcome import (
    ChangesForgotten,
    CustomerNotFound,
    DomainError,
    EmailTaken,
    FavoritesFull,
    PreconditionFailed,
)
from app.domain.page import Page
from app.domain.product import ProductId, Rating
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from app.domain.session import Rotation
from app.domain.throttle import Attempt, ThrottleRule
from app.infra.postgres.engine import create_engine, sessions_of
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests import make

T = TypeVar("T")


async def at_once(
    uow: UnitOfWorkFactory, times: int, work: Callable[[UnitOfWork, int], Awaitable[T]]
) -> list[T | type[DomainError]]:
    """Do something in many units of work at the same time; return results and outcomes."""

    async def once(number: int) -> T | type[DomainError]:
        try:
            async with uow() as unit:
                result = await work(unit, number)
                await unit.commit()
        except DomainError as outcome:
            return type(outcome)
        return result

    return await asyncio.gather(*(once(number) for number in range(times)))


async def stored_customer(uow: UnitOfWorkFactory) -> Customer:
    customer = make.customer()
    async with uow() as work:
        await work.customers.add(customer)
        await work.commit()
    return customer


@pytest_asyncio.fixture
async def patient_uow(
    database_url: str,
    postgres_engine: AsyncEngine,  # empties the database
) -> AsyncGenerator[UnitOfWorkFactory]:
    """Return what begins units that may wait for each other long; a deadlock ends after 1 s."""
    engine = create_engine(
        database_url, pool_size=20, patience=make.MINUTE, statement_timeout=make.MINUTE
    )
    yield partial(PostgresUnitOfWork, sessions_of(engine), budget=make.MINUTE)
    await engine.dispose()


class TestCustomers:
    async def test_sign_up_once_by_the_same_address(self, postgres_uow: UnitOfWorkFactory) -> None:
        async def sign_up(work: UnitOfWork, number: int) -> None:
            email = "ana@example.com" if number % 2 else "ANA@Example.com"
            await work.customers.add(make.customer(email=email))

        assert Counter(await at_once(postgres_uow, 50, sign_up)) == {None: 1, EmailTaken: 49}
        async with postgres_uow() as work:
            page: Page[Customer] = await work.customers.list_page(CustomerQuery())
        assert len(page.items) == 1

    async def test_are_saved_once_from_the_same_version(
        self, postgres_uow: UnitOfWorkFactory
    ) -> None:
        customer = await stored_customer(postgres_uow)

        async def save(work: UnitOfWork, number: int) -> None:
            await work.customers.save(
                customer.changed(name=f"Ana {number}", email=None, now=make.NOW)
            )

        assert Counter(await at_once(postgres_uow, 20, save)) == {None: 1, PreconditionFailed: 19}

    async def test_can_be_removed_while_their_sessions_end(
        self, postgres_uow: UnitOfWorkFactory
    ) -> None:
        customers = [await stored_customer(postgres_uow) for _ in range(10)]
        for customer in customers * 5:
            session = make.session(customer_id=customer.id)
            async with postgres_uow() as work:
                await work.sessions.add(session, make.refresh_token(session_id=session.id))
                await work.commit()

        async def end_or_remove(work: UnitOfWork, number: int) -> int:
            customer = customers[number // 3]
            match number % 3:
                case 0:
                    return await work.customers.remove(customer.id)
                case 1:
                    return await work.sessions.end_all(customer.id, now=make.NOW)
                case _:
                    return await work.sessions.purge(before=make.NOW)

        results = await at_once(postgres_uow, 30, end_or_remove)
        assert all(isinstance(result, int) for result in results)
        async with postgres_uow() as work:
            for customer in customers:
                assert await work.sessions.list_all(customer.id) == []


class TestFavorites:
    async def test_are_new_once(self, postgres_uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(postgres_uow)

        async def put(work: UnitOfWork, number: int) -> bool:
            return await work.favorites.put(
                make.favorite(customer_id=customer.id, product_id=ProductId(5)),
                at_most=make.PLENTY,
            )

        assert Counter(await at_once(postgres_uow, 50, put)) == {True: 1, False: 49}
        async with postgres_uow() as work:
            page = await work.favorites.list_page(FavoriteQuery(customer_id=customer.id))
        assert len(page.items) == 1

    async def test_are_settled_once_whoever_settles_them(
        self, postgres_uow: UnitOfWorkFactory
    ) -> None:
        product_id = ProductId(5)
        for _ in range(20):
            customer = await stored_customer(postgres_uow)
            async with postgres_uow() as work:
                await work.favorites.put(
                    make.favorite(
                        customer_id=customer.id, product_id=product_id, when_favorited=None
                    ),
                    at_most=make.PLENTY,
                )
                await work.commit()
        snapshot = Snapshot.of(make.product(id=product_id))

        async def settle(work: UnitOfWork, number: int) -> int:
            if number % 2:
                return await work.favorites.confirm(product_id, snapshot)
            return await work.favorites.reject(product_id, now=make.NOW)

        assert Counter(await at_once(postgres_uow, 20, settle)) == {20: 1, 0: 19}

    async def test_that_wait_are_counted_one_unit_after_the_other(
        self, postgres_uow: UnitOfWorkFactory
    ) -> None:
        customer = await stored_customer(postgres_uow)

        async def put_up_to_ten(work: UnitOfWork, number: int) -> bool:
            if await work.favorites.count_pending(customer.id) >= 10:
                return False
            return await work.favorites.put(
                make.favorite(
                    customer_id=customer.id,
                    product_id=ProductId(number + 1),
                    when_favorited=None,
                ),
                at_most=make.PLENTY,
            )

        assert Counter(await at_once(postgres_uow, 30, put_up_to_ten)) == {True: 10, False: 20}

    async def test_are_consistent_after_one_heart_was_toggled_by_many(
        self, postgres_uow: UnitOfWorkFactory
    ) -> None:
        customer, other = [await stored_customer(postgres_uow) for _ in range(2)]
        product = make.product()
        async with postgres_uow() as work:
            await work.products.store([product], asked_at=make.NOW)
            await work.favorites.put(
                make.favorite(customer_id=other.id, product_id=product.id), at_most=make.PLENTY
            )
            await work.commit()
        key = (customer.id, product.id)

        async def toggle(work: UnitOfWork, number: int) -> bool:
            match number % 3:
                case 0:
                    return await work.favorites.put(
                        make.favorite(customer_id=customer.id, product_id=product.id), at_most=1
                    )
                case 1:
                    return await work.favorites.remove(*key, now=make.NOW)
                case _:
                    return await work.favorites.restore(*key, removed_since=make.NOW, at_most=1)

        results = await at_once(postgres_uow, 50, toggle)
        changes = sum(result is True for result in results)
        async with postgres_uow() as work:
            present = bool(await work.favorites.contains(customer.id, [product.id]))
            version = await work.favorites.version(customer.id)
            [popular] = await work.popularity.list_popular(at_least=1, limit=2)
            assert await work.popularity.reconcile() == 0
        assert set(results) <= {True, False}
        assert version.favorites == changes
        assert changes % 2 == present
        assert popular.favorites == 1 + present

    async def test_are_as_many_as_may_be(self, postgres_uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(postgres_uow)

        async def put(work: UnitOfWork, number: int) -> bool:
            return await work.favorites.put(make.favorite(customer_id=customer.id), at_most=20)

        assert Counter(await at_once(postgres_uow, 50, put)) == {True: 20, FavoritesFull: 30}
        async with postgres_uow() as work:
            assert len(await work.favorites.list_all(customer.id)) == 20
            assert await work.popularity.reconcile() == 0

    async def test_lock_in_one_order_whatever_happens_at_once(
        self, patient_uow: UnitOfWorkFactory
    ) -> None:
        """Batches, customers who go, answers of the catalog, upkeep: nobody waits in a circle."""
        postgres_uow = patient_uow
        products = [make.product() for _ in range(6)]
        ids = [product.id for product in products]
        customers = [await stored_customer(postgres_uow) for _ in range(6)]
        async with postgres_uow() as work:
            await work.products.store(products, asked_at=make.NOW)
            await work.commit()

        async def something(work: UnitOfWork, number: int) -> None:
            customer, at = customers[number % 6], make.NOW + number * make.SECOND
            match number // 6 % 8:
                case 0 | 1 | 2:
                    waits = number % 2 == 0
                    for product_id in ids:
                        favorite = make.favorite(
                            customer_id=customer.id,
                            product_id=product_id,
                            when_favorited=None if waits else make.snapshot(),
                        )
                        if await work.favorites.put(favorite, at_most=4) and waits:
                            await work.jobs.enqueue(ValidateProduct(product_id=product_id))
                        await work.favorites.remove(customer.id, product_id, now=make.NOW)
                case 3:
                    await work.favorites.confirm(ids[number % 6], make.snapshot())
                case 4:
                    await work.products.store(products[number % 6 :], asked_at=at)
                    await work.products.note_complete_list(ids[number % 3 :], asked_at=at)
                case 5:
                    await work.favorites.list_changes(customer.id, since=ChangePosition(), limit=3)
                    await work.favorites.restore(
                        customer.id, ids[0], removed_since=make.NOW, at_most=4
                    )
                case 6:
                    await work.favorites.forget_removed(
                        restorable_since=make.NOW, since=make.NOW + make.SECOND
                    )
                    await work.popularity.reconcile()
                case _:
                    if number % 6 < 2:
                        await work.customers.remove(customer.id)

        outcomes = await at_once(postgres_uow, 96, something)
        assert set(outcomes) <= {None, CustomerNotFound, FavoritesFull}
        async with postgres_uow() as work:
            assert await work.popularity.reconcile() == 0

    async def test_that_nobody_counted_are_found(
        self, postgres_uow: UnitOfWorkFactory, postgres_engine: AsyncEngine
    ) -> None:
        """As those that the release before has added during an upgrade."""
        customer, product = await stored_customer(postgres_uow), make.product()
        async with postgres_uow() as work:
            await work.products.store([product], asked_at=make.NOW)
            await work.favorites.put(make.favorite(customer_id=customer.id), at_most=2)
            await work.commit()
        async with postgres_engine.begin() as connection:
            await connection.execute(
                text("""
                    INSERT INTO favorites (customer_id, product_id, favorited_at)
                    VALUES (:customer_id, :product_id, now())
                """),
                {"customer_id": customer.id, "product_id": product.id},
            )
        async with postgres_uow() as work:
            seen = (
                await work.favorites.list_changes(customer.id, since=ChangePosition(), limit=9)
            ).seen
            assert await work.popularity.reconcile() == 2
            assert await work.popularity.reconcile() == 0
            [popular] = await work.popularity.list_popular(at_least=1, limit=2)
            assert (popular.cached.product.id, popular.favorites) == (product.id, 1)
            with pytest.raises(FavoritesFull):
                await work.favorites.put(make.favorite(customer_id=customer.id), at_most=2)
            with pytest.raises(ChangesForgotten):
                await work.favorites.list_changes(customer.id, since=seen, limit=9)


class TestProducts:
    async def test_are_claimed_by_one(self, postgres_uow: UnitOfWorkFactory) -> None:
        async def claim(work: UnitOfWork, number: int) -> int:
            return len(
                await work.products.claim(
                    [ProductId(5)], now=make.NOW, until=make.NOW + make.MINUTE
                )
            )

        assert Counter(await at_once(postgres_uow, 50, claim)) == {1: 1, 0: 49}

    async def test_are_claimed_and_stored_in_any_order_without_a_deadlock(
        self, postgres_uow: UnitOfWorkFactory
    ) -> None:
        ids = [ProductId(n) for n in range(1, 41)]

        async def claim_or_store(work: UnitOfWork, number: int) -> None:
            mine = ids if number % 2 else ids[::-1]
            now = make.NOW + number * make.MINUTE
            match number % 4:
                case 0 | 1:
                    await work.products.claim(mine, now=now, until=now + make.SECOND)
                case 2:
                    await work.products.store([make.product(id=i) for i in mine], asked_at=now)
                case _:
                    await work.products.note_complete_list(mine[:20], asked_at=now)

        assert set(await at_once(postgres_uow, 40, claim_or_store)) == {None}

    async def test_keep_the_newest_copy_and_each_price_once(
        self, postgres_uow: UnitOfWorkFactory
    ) -> None:
        product = make.product(id=ProductId(5))

        async def store(work: UnitOfWork, number: int) -> None:
            copy = replace(product, rating=Rating(rate=product.price * 0, count=number))
            await work.products.store([copy], asked_at=make.NOW + number * make.SECOND)

        await at_once(postgres_uow, 40, store)
        async with postgres_uow() as work:
            [known] = (await work.products.get_many([product.id])).values()
            history = await work.products.price_history(product.id)
        assert known == make.cached_product(
            product=replace(product, rating=Rating(rate=product.price * 0, count=39)),
            fetched_at=make.NOW + 39 * make.SECOND,
        )
        assert len(history) == 1

    async def test_the_catalog_is_claimed_by_one(self, postgres_uow: UnitOfWorkFactory) -> None:
        async def claim(work: UnitOfWork, number: int) -> bool:
            return await work.products.claim_catalog(now=make.NOW, until=make.NOW + make.MINUTE)

        assert Counter(await at_once(postgres_uow, 50, claim)) == {True: 1, False: 49}


class TestThrottles:
    async def test_count_exactly(self, postgres_uow: UnitOfWorkFactory) -> None:
        key, rule = make.throttle_key(), ThrottleRule(limit=10, window=make.MINUTE)

        async def take(work: UnitOfWork, number: int) -> bool:
            taken = await work.throttles.take(key, rule, now=make.NOW + number * make.SECOND / 100)
            return isinstance(taken, Attempt)

        assert Counter(await at_once(postgres_uow, 100, take)) == {True: 10, False: 90}


class TestRotation:
    async def test_has_one_winner(self, postgres_uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(postgres_uow)
        session = make.session(customer_id=customer.id)
        token = make.refresh_token(session_id=session.id)
        async with postgres_uow() as work:
            await work.sessions.add(session, token)
            await work.commit()

        async def rotate(work: UnitOfWork, number: int) -> Rotation:
            family = await work.sessions.lock_family(token.hash)
            assert family is not None
            rotation = family.rotation(make.SESSION_POLICY, now=make.NOW)
            if rotation is Rotation.ROTATE:
                await work.sessions.save_token(replace(family.presented, used_at=make.NOW))
                await work.sessions.add_token(
                    make.refresh_token(session_id=session.id, predecessor=token.hash)
                )
            return rotation

        assert Counter(await at_once(postgres_uow, 20, rotate)) == {
            Rotation.ROTATE: 1,
            Rotation.REPEAT: 19,
        }


class TestRemovedCustomers:
    async def test_leave_no_favorites_behind(self, postgres_uow: UnitOfWorkFactory) -> None:
        """A customer removed meanwhile is an outcome, not a broken constraint."""
        customer = await stored_customer(postgres_uow)

        async def put_or_remove(work: UnitOfWork, number: int) -> bool | None:
            if number == 0:
                return await work.customers.remove(customer.id)
            return await work.favorites.put(
                make.favorite(customer_id=CustomerId(customer.id), product_id=ProductId(number)),
                at_most=make.PLENTY,
            )

        results = await at_once(postgres_uow, 30, put_or_remove)
        assert results[0] is True
        async with postgres_uow() as work:
            assert await work.favorites.list_all(customer.id) == []
