"""Races between transactions, on PostgreSQL alone: the in-memory double has one thread."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.customer import Customer, CustomerId, CustomerQuery
from app.domain.favorite import ChangePosition, FavoriteQuery, Snapshot
from app.domain.outcome import (
    ChangesForgotten,
    CustomerNotFound,
    DomainError,
    EmailTaken,
    PreconditionFailed,
)
from app.domain.product import ProductId, Rating
from app.domain.queries import Queries
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from app.domain.session import Rotation, Session
from app.domain.throttle import Attempt, ThrottleRule
from app.domain.writes import (
    AddOutcome,
    FavoriteLimits,
    FavoriteWrites,
    RemoveOutcome,
    RestoreOutcome,
)
from app.infra.postgres.engine import create_engine, sessions_of
from app.infra.postgres.favorite_writes import PostgresFavoriteWrites
from app.infra.postgres.queries import PostgresQueries
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.sign_in_writes import PostgresSignInWrites
from app.infra.postgres.statement_pool import StatementPool
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests import make
from tests.database import PATIENT, postgres_pool

T = TypeVar("T")

PROCESSES = 5
TWENTY = FavoriteLimits(total=20, pending=20)


async def at_once(
    uow: UnitOfWorkFactory, times: int, work: Callable[[UnitOfWork, int], Awaitable[T]]
) -> list[T | type[DomainError]]:
    """Do something in many units of work at the same time; return results and outcomes."""

    async def once(number: int) -> T:
        async with uow() as unit:
            result = await work(unit, number)
            await unit.commit()
        return result

    return await calls_at_once(times, once)


async def calls_at_once(
    times: int, call: Callable[[int], Awaitable[T]]
) -> list[T | type[DomainError]]:
    """Make many calls at the same time; return results and outcomes."""

    async def once(number: int) -> T | type[DomainError]:
        try:
            return await call(number)
        except DomainError as outcome:
            return type(outcome)

    return await asyncio.gather(*(once(number) for number in range(times)))


async def stored_customer(uow: UnitOfWorkFactory) -> Customer:
    customer = make.customer()
    async with uow() as work:
        await work.customers.add(customer)
        await work.commit()
    return customer


async def stored_session(pool: StatementPool, customer: Customer) -> Session:
    session = make.session(customer_id=customer.id)
    token = make.refresh_token(session_id=session.id)
    writes = PostgresSignInWrites(pool, patience=PATIENT)
    assert await writes.begin_session(
        session, token, password_hash=make.PASSWORD_HASH, attempts=()
    )
    return session


@pytest_asyncio.fixture
async def pool(database_url: str, postgres_engine: AsyncEngine) -> AsyncGenerator[StatementPool]:
    async with postgres_pool(database_url) as pool:
        yield pool


@pytest_asyncio.fixture
async def queries(pool: StatementPool) -> AsyncGenerator[Queries]:
    queries = PostgresQueries(pool, ProductRowCache(pool.fetch), patience=PATIENT)
    yield queries
    await queries.aclose()


@pytest_asyncio.fixture
async def processes(
    database_url: str,
    postgres_engine: AsyncEngine,  # empties the database
) -> AsyncGenerator[Sequence[FavoriteWrites]]:
    """Return the writes of several processes; a deadlock ends after 1 s."""
    async with AsyncExitStack() as stack:
        processes = []
        for _ in range(PROCESSES):
            pool = await stack.enter_async_context(postgres_pool(database_url))
            row_cache = ProductRowCache(pool.fetch)
            writes = PostgresFavoriteWrites(pool, row_cache, patience=make.MINUTE)
            stack.push_async_callback(writes.aclose)
            processes.append(writes)
        yield processes


@pytest_asyncio.fixture
async def patient_uow(
    database_url: str,
    postgres_engine: AsyncEngine,  # empties the database
) -> AsyncGenerator[UnitOfWorkFactory]:
    """Return units of work that may wait for each other long; a deadlock ends after 1 s."""
    engine = create_engine(
        database_url, pool_size=20, patience=make.MINUTE, statement_timeout=make.MINUTE
    )
    yield partial(PostgresUnitOfWork, sessions_of(engine), budget=make.MINUTE)
    await engine.dispose()


class TestCustomers:
    async def test_sign_up_once_by_the_same_address(
        self, postgres_uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        async def sign_up(work: UnitOfWork, number: int) -> None:
            email = "ana@example.com" if number % 2 else "ANA@Example.com"
            await work.customers.add(make.customer(email=email))

        assert Counter(await at_once(postgres_uow, 50, sign_up)) == {None: 1, EmailTaken: 49}
        assert len((await queries.list_customers(CustomerQuery())).items) == 1

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
        self, postgres_uow: UnitOfWorkFactory, pool: StatementPool
    ) -> None:
        customers = [await stored_customer(postgres_uow) for _ in range(10)]
        sessions = [await stored_session(pool, customer) for customer in customers * 5]

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
            for session in sessions:
                assert await work.sessions.get(session.id) is None


class TestFavorites:
    async def test_are_new_once(
        self,
        postgres_uow: UnitOfWorkFactory,
        processes: Sequence[FavoriteWrites],
        queries: Queries,
    ) -> None:
        customer = await stored_customer(postgres_uow)

        async def add(number: int) -> AddOutcome:
            favorite = make.favorite(customer_id=customer.id, product_id=ProductId(5))
            result = await processes[number % PROCESSES].add(favorite, limits=make.LIMITS)
            return result.outcome

        assert Counter(await calls_at_once(50, add)) == {
            AddOutcome.ADDED: 1,
            AddOutcome.PRESENT: 49,
        }
        page = (await queries.list_favorites(FavoriteQuery(customer_id=customer.id))).page
        assert len(page.items) == 1

    async def test_are_settled_once_by_several_jobs(
        self, postgres_uow: UnitOfWorkFactory, processes: Sequence[FavoriteWrites]
    ) -> None:
        product_id = ProductId(5)
        for _ in range(20):
            customer = await stored_customer(postgres_uow)
            await processes[0].add(
                make.favorite(customer_id=customer.id, product_id=product_id, when_favorited=None),
                limits=make.LIMITS,
            )
        snapshot = Snapshot.of(make.product(id=product_id))

        async def settle(work: UnitOfWork, number: int) -> int:
            if number % 2:
                return await work.favorites.confirm(product_id, snapshot)
            return await work.favorites.reject(product_id, now=make.NOW)

        assert Counter(await at_once(postgres_uow, 20, settle)) == {20: 1, 0: 19}

    async def test_that_wait_are_as_many_as_may_be(
        self, postgres_uow: UnitOfWorkFactory, processes: Sequence[FavoriteWrites]
    ) -> None:
        customer = await stored_customer(postgres_uow)

        async def add_up_to_ten(number: int) -> AddOutcome:
            favorite = make.favorite(
                customer_id=customer.id, product_id=ProductId(number + 1), when_favorited=None
            )
            limits = FavoriteLimits(total=make.PLENTY, pending=10)
            result = await processes[number % PROCESSES].add(favorite, limits=limits)
            return result.outcome

        assert Counter(await calls_at_once(30, add_up_to_ten)) == {
            AddOutcome.ADDED: 10,
            AddOutcome.TOO_MANY_PENDING: 20,
        }

    async def test_are_consistent_after_one_heart_was_toggled_by_many(
        self,
        postgres_uow: UnitOfWorkFactory,
        processes: Sequence[FavoriteWrites],
        queries: Queries,
    ) -> None:
        customer, other = [await stored_customer(postgres_uow) for _ in range(2)]
        product, one = make.product(), FavoriteLimits(total=1, pending=1)
        async with postgres_uow() as work:
            await work.products.store([product], asked_at=make.NOW)
            await work.commit()
        await processes[0].add(
            make.favorite(customer_id=other.id, product_id=product.id), limits=make.LIMITS
        )
        key = (customer.id, product.id)

        async def toggle(number: int) -> AddOutcome | RemoveOutcome | RestoreOutcome:
            writes = processes[number % PROCESSES]
            match number % 3:
                case 0:
                    favorite = make.favorite(customer_id=customer.id, product_id=product.id)
                    return (await writes.add(favorite, limits=one)).outcome
                case 1:
                    return await writes.remove(*key, now=make.NOW)
                case _:
                    return await writes.restore(*key, removed_since=make.NOW, limits=one)

        outcomes = Counter(await calls_at_once(50, toggle))
        changes = sum(
            outcomes[changed]
            for changed in (AddOutcome.ADDED, RemoveOutcome.REMOVED, RestoreOutcome.RESTORED)
        )
        contained = await queries.contains(customer.id, [product.id])
        present = bool(contained.product_ids)
        [popular] = await queries.list_popular(at_least=1, limit=2)
        assert set(outcomes) <= {
            AddOutcome.ADDED,
            AddOutcome.PRESENT,
            RemoveOutcome.REMOVED,
            RemoveOutcome.ABSENT,
            RestoreOutcome.RESTORED,
            RestoreOutcome.PRESENT,
            RestoreOutcome.NOT_RESTORABLE,
        }
        assert contained.version.favorites == changes
        assert changes % 2 == present
        assert popular.favorites == 1 + present
        async with postgres_uow() as work:
            assert await work.popularity.reconcile() == 0

    async def test_are_as_many_as_may_be(
        self,
        postgres_uow: UnitOfWorkFactory,
        processes: Sequence[FavoriteWrites],
        queries: Queries,
    ) -> None:
        customer = await stored_customer(postgres_uow)

        async def add(number: int) -> AddOutcome:
            favorite = make.favorite(customer_id=customer.id)
            result = await processes[number % PROCESSES].add(favorite, limits=TWENTY)
            return result.outcome

        assert Counter(await calls_at_once(50, add)) == {
            AddOutcome.ADDED: 20,
            AddOutcome.FULL: 30,
        }
        records = await queries.find_records(customer.id)
        assert records is not None
        assert len(records.favorites) == 20
        async with postgres_uow() as work:
            assert await work.popularity.reconcile() == 0

    async def test_lock_in_one_order_whatever_happens_at_once(
        self, patient_uow: UnitOfWorkFactory, processes: Sequence[FavoriteWrites]
    ) -> None:
        """Single writes, batches, removed customers, the catalog, upkeep: no deadlock."""
        products = [make.product() for _ in range(6)]
        ids = [product.id for product in products]
        customers = [await stored_customer(patient_uow) for _ in range(6)]
        async with patient_uow() as work:
            await work.products.store(products, asked_at=make.NOW)
            await work.commit()
        four = FavoriteLimits(total=4, pending=4)

        async def write(writes: FavoriteWrites, number: int, customer_id: CustomerId) -> None:
            waits = number % 2 == 0
            favorites = {
                product_id: make.favorite(
                    customer_id=customer_id,
                    product_id=product_id,
                    when_favorited=None if waits else make.snapshot(),
                )
                for product_id in ids
            }
            match number // 6 % 3:
                case 0:
                    await asyncio.gather(
                        *(writes.add(favorites[id_], limits=four) for id_ in ids[::-1]),
                        *(writes.remove(customer_id, id_, now=make.NOW) for id_ in ids),
                    )
                case 1:
                    half = number % 3 + 1
                    await writes.change(
                        customer_id,
                        add={id_: favorites[id_] for id_ in ids[half:]},
                        remove=ids[:half],
                        now=make.NOW,
                        limits=four,
                    )
                    await writes.change(
                        customer_id,
                        add={id_: favorites[id_] for id_ in ids[:half]},
                        remove=ids[half:],
                        now=make.NOW,
                        limits=four,
                    )
                case _:
                    await writes.enter_catalog_changes(customer_id)
                    await writes.restore(customer_id, ids[0], removed_since=make.NOW, limits=four)

        async def something(number: int) -> None:
            customer, at = customers[number % 6], make.NOW + number * make.SECOND
            if number // 6 % 8 < 4:
                await write(processes[number % PROCESSES], number, customer.id)
                return
            async with patient_uow() as work:
                match number // 6 % 8:
                    case 4:
                        await work.favorites.confirm(ids[number % 6], make.snapshot())
                    case 5:
                        await work.products.store(products[number % 6 :], asked_at=at)
                        await work.products.note_complete_list(ids[number % 3 :], asked_at=at)
                    case 6:
                        await work.favorites.forget_removed(
                            restorable_since=make.NOW, since=make.NOW + make.SECOND
                        )
                        await work.popularity.reconcile()
                    case _:
                        if number % 6 < 2:
                            await work.customers.remove(customer.id)
                await work.commit()

        outcomes = await calls_at_once(144, something)
        assert set(outcomes) <= {None, CustomerNotFound}
        async with patient_uow() as work:
            assert await work.popularity.reconcile() == 0

    async def test_that_are_not_counted_are_found(
        self,
        postgres_uow: UnitOfWorkFactory,
        postgres_engine: AsyncEngine,
        processes: Sequence[FavoriteWrites],
        queries: Queries,
    ) -> None:
        customer, product = await stored_customer(postgres_uow), make.product()
        two = FavoriteLimits(total=2, pending=2)
        async with postgres_uow() as work:
            await work.products.store([product], asked_at=make.NOW)
            await work.commit()
        await processes[0].add(make.favorite(customer_id=customer.id), limits=two)
        async with postgres_engine.begin() as connection:
            await connection.execute(
                text("""
                    INSERT INTO favorites (customer_id, product_id, favorited_at)
                    VALUES (:customer_id, :product_id, now())
                """),
                {"customer_id": customer.id, "product_id": product.id},
            )
        changes = await queries.list_changes(customer.id, since=ChangePosition(), limit=9)
        async with postgres_uow() as work:
            assert await work.popularity.reconcile() == 2
            assert await work.popularity.reconcile() == 0
            await work.commit()
        [popular] = await queries.list_popular(at_least=1, limit=2)
        assert (popular.cached.product.id, popular.favorites) == (product.id, 1)
        result = await processes[0].add(make.favorite(customer_id=customer.id), limits=two)
        assert result.outcome is AddOutcome.FULL
        with pytest.raises(ChangesForgotten):
            await queries.list_changes(customer.id, since=changes.seen, limit=9)


class TestProducts:
    async def test_are_leased_by_one(self, postgres_uow: UnitOfWorkFactory) -> None:
        async def lease(work: UnitOfWork, number: int) -> int:
            return len(
                await work.products.acquire_lease(
                    [ProductId(5)], now=make.NOW, until=make.NOW + make.MINUTE
                )
            )

        assert Counter(await at_once(postgres_uow, 50, lease)) == {1: 1, 0: 49}

    async def test_are_leased_and_stored_in_any_order_without_a_deadlock(
        self, postgres_uow: UnitOfWorkFactory
    ) -> None:
        ids = [ProductId(n) for n in range(1, 41)]

        async def lease_or_store(work: UnitOfWork, number: int) -> None:
            mine = ids if number % 2 else ids[::-1]
            now = make.NOW + number * make.MINUTE
            match number % 4:
                case 0 | 1:
                    await work.products.acquire_lease(mine, now=now, until=now + make.SECOND)
                case 2:
                    await work.products.store([make.product(id=i) for i in mine], asked_at=now)
                case _:
                    await work.products.note_complete_list(mine[:20], asked_at=now)

        assert set(await at_once(postgres_uow, 40, lease_or_store)) == {None}

    async def test_keep_the_newest_copy_and_each_price_once(
        self, postgres_uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product(id=ProductId(5))

        async def store(work: UnitOfWork, number: int) -> None:
            copy = replace(product, rating=Rating(rate=product.price * 0, count=number))
            await work.products.store([copy], asked_at=make.NOW + number * make.SECOND)

        await at_once(postgres_uow, 40, store)
        prices = await queries.list_prices(product.id)
        assert await queries.find_product(product.id) == make.cached_product(
            product=replace(product, rating=Rating(rate=product.price * 0, count=39)),
            fetched_at=make.NOW + 39 * make.SECOND,
        )
        assert prices is not None
        assert len(prices) == 1

    async def test_the_catalog_is_leased_by_one(self, postgres_uow: UnitOfWorkFactory) -> None:
        async def lease(work: UnitOfWork, number: int) -> bool:
            return await work.products.acquire_catalog_lease(
                now=make.NOW, until=make.NOW + make.MINUTE
            )

        assert Counter(await at_once(postgres_uow, 50, lease)) == {True: 1, False: 49}


class TestThrottles:
    async def test_count_exactly(self, postgres_uow: UnitOfWorkFactory) -> None:
        key, rule = make.throttle_key(), ThrottleRule(limit=10, window=make.MINUTE)

        async def take(work: UnitOfWork, number: int) -> bool:
            taken = await work.throttles.take(key, rule, now=make.NOW + number * make.SECOND / 100)
            return isinstance(taken, Attempt)

        assert Counter(await at_once(postgres_uow, 100, take)) == {True: 10, False: 90}


class TestRotation:
    async def test_has_one_winner(
        self, postgres_uow: UnitOfWorkFactory, pool: StatementPool
    ) -> None:
        customer = await stored_customer(postgres_uow)
        session = await stored_session(pool, customer)
        token = make.refresh_token(session_id=session.id)
        async with postgres_uow() as work:
            await work.sessions.add_token(token)
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
    async def test_leave_no_favorites_behind(
        self,
        postgres_uow: UnitOfWorkFactory,
        postgres_engine: AsyncEngine,
        processes: Sequence[FavoriteWrites],
    ) -> None:
        """A customer removed meanwhile is an outcome, not a violated constraint."""
        customer = await stored_customer(postgres_uow)

        async def add_or_remove(number: int) -> AddOutcome | bool:
            if number == 0:
                async with postgres_uow() as work:
                    removed = await work.customers.remove(customer.id)
                    await work.commit()
                    return removed
            favorite = make.favorite(customer_id=customer.id, product_id=ProductId(number))
            result = await processes[number % PROCESSES].add(favorite, limits=make.LIMITS)
            return result.outcome

        removed, *outcomes = await calls_at_once(30, add_or_remove)
        assert removed is True
        assert set(outcomes) <= {AddOutcome.ADDED, AddOutcome.NO_CUSTOMER}
        async with postgres_engine.connect() as connection:
            left = await connection.execute(text("SELECT count(*) FROM favorites"))
            assert left.scalar_one() == 0
        async with postgres_uow() as work:
            assert await work.popularity.reconcile() == 0
