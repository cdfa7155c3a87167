from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.access import ApiKeyId
from app.domain.customer import CustomerId, CustomerQuery, CustomerSort
from app.domain.favorite import ChangePosition, FavoriteQuery, FavoriteSort, Snapshot
from app.domain.outcome import CustomerNotFound
from app.domain.product import ProductId, ProductQuery, ProductSort
from app.domain.repository import UnitOfWork
from app.domain.session import SessionId
from app.domain.writes import AddOutcome, AddResult, RemoveOutcome, RestoreOutcome
from app.infra.postgres.engine import sessions_of
from app.infra.postgres.favorite_writes import PostgresFavoriteWrites
from app.infra.postgres.queries import PostgresQueries
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests import make
from tests.database import PATIENT, patient_engine, postgres_pool
from tests.integration.postgres.plan import (
    RecordingPool,
    generic_plans,
    in_transaction,
    sent_by,
)
from tests.make import LIMITS

# 1,000 customers with 100 favorites each, and one with 10,000.
COLLECTOR = CustomerId(UUID(int=1))
_FILL = f"""
INSERT INTO products_cache (
    product_id, title, title_key, price, price_since, description, category, image, fetched_at
)
SELECT n, 'Title ' || n, 'title ' || n, n % 977, '{make.NOW}', '', 'c' || n % 5, '',
    timestamptz '{make.NOW}' - n * interval '1 minute'
FROM generate_series(1, 10000) AS n;

INSERT INTO customers (
    id, name, name_key, email, email_key, role, created_at, updated_at, version
)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'Name ' || n, 'name ' || n, n || '@example.com',
    n || '@example.com', 'customer', timestamptz '{make.NOW}' + n * interval '1 second',
    '{make.NOW}', 1
FROM generate_series(1, 20000) AS n;

INSERT INTO favorites (
    customer_id, product_id, favorited_at, snapshot_title, snapshot_price, snapshot_image
)
SELECT lpad(to_hex(c), 32, '0')::uuid, p, timestamptz '{make.NOW}' + p * interval '1 second',
    CASE WHEN p % 1000 > 0 THEN 'Title' END, CASE WHEN p % 1000 > 0 THEN 1 END,
    CASE WHEN p % 1000 > 0 THEN '' END
FROM generate_series(1, 1001) AS c, generate_series(1, 10000) AS p
WHERE c = 1 OR p % 100 = c % 100;

INSERT INTO favorite_lists (customer_id, version, size)
SELECT customer_id, 1, count(*) FROM favorites GROUP BY customer_id;

INSERT INTO product_popularity (product_id, favorites)
SELECT product_id, count(*) FROM favorites GROUP BY product_id;

INSERT INTO favorite_tombstones (customer_id, product_id, changed_in, removed_at, favorited_at)
SELECT lpad(to_hex(c), 32, '0')::uuid, 20000 + p, 1, timestamptz '{make.NOW}' - t.n * interval
    '1 minute', '{make.NOW}'
FROM (SELECT n, n % 1001 + 1 AS c, n AS p FROM generate_series(1, 20000) AS n) AS t;

INSERT INTO sessions (
    id, customer_id, device, created_at, last_used_at, idle_expires_at, expires_at
)
SELECT gen_random_uuid(), lpad(to_hex(n), 32, '0')::uuid, '', '{make.NOW}', '{make.NOW}',
    timestamptz '{make.NOW}' + n * interval '1 minute', '{make.NOW + 30 * make.DAY}'
FROM generate_series(1, 20000) AS n;
"""  # noqa: S608 - made of our own constants


@pytest.fixture(scope="module")
def full_database(new_database: Callable[..., str]) -> str:
    url = new_database(migrated=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_FILL)
        connection.execute("VACUUM ANALYZE")
    return url


@pytest_asyncio.fixture
async def engine(full_database: str) -> AsyncGenerator[AsyncEngine]:
    engine = patient_engine(full_database)
    yield engine
    await engine.dispose()


@pytest.fixture
def work(engine: AsyncEngine) -> UnitOfWork:
    return PostgresUnitOfWork(sessions_of(engine), budget=PATIENT)


def indexes(plan: Sequence[dict[str, Any]]) -> set[str]:
    return {node["Index Name"] for node in plan if "Index Name" in node}


LARGE = {"customers", "favorites", "favorite_lists", "favorite_tombstones"}


def scanned(plan: Sequence[dict[str, Any]]) -> set[str]:
    """Return the tables of which every row is looked at."""
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}


def kinds(plan: Sequence[dict[str, Any]]) -> set[str]:
    return {node["Node Type"] for node in plan}


def on(plan: Sequence[dict[str, Any]], table: str) -> set[str]:
    """Return the kinds of scans of a table."""
    return {node["Node Type"] for node in plan if node.get("Relation Name") == table}


@pytest.fixture(params=["empty", "full"])
def url(request: pytest.FixtureRequest, new_database: Callable[..., str]) -> str:
    """Return a database with or without rows: statements are planned once, maybe before any."""
    if request.param == "empty":
        return new_database(migrated=True)
    full: str = request.getfixturevalue("full_database")
    return full


@asynccontextmanager
async def recorded(url: str) -> AsyncGenerator[tuple[PostgresQueries, RecordingPool]]:
    async with postgres_pool(url) as pool:
        recording = RecordingPool(pool)
        queries = PostgresQueries(recording, ProductRowCache(recording.fetch), patience=PATIENT)
        yield queries, recording
        await queries.aclose()


async def plan_of(
    url: str, read: Callable[[PostgresQueries], Awaitable[object]]
) -> Sequence[dict[str, Any]]:
    """Return the plan of the first statement of a read; another one may read products."""
    async with recorded(url) as (queries, pool):
        # The result does not matter: there may be no customers yet.
        with suppress(CustomerNotFound):
            await read(queries)
    [plan] = generic_plans(url, pool.statements[:1])
    return plan


async def rows_read(
    url: str, read: Callable[[PostgresQueries], Awaitable[object]]
) -> Mapping[str, int]:
    """Return how many rows of each table a read really reads."""
    async with in_transaction(url) as pool:
        queries = PostgresQueries(pool, ProductRowCache(pool.fetch), patience=PATIENT)
        await read(queries)
        await queries.aclose()
        return await pool.rows_read()


BY_TIME = "ix_favorites_customer_id_favorited_at_product_id"


class TestLists:
    @pytest.mark.parametrize("sort", [FavoriteSort.NEWEST, FavoriteSort.OLDEST])
    async def test_by_time_come_from_an_index_whatever_was_there_when_they_were_planned(
        self, url: str, sort: FavoriteSort
    ) -> None:
        query = FavoriteQuery(customer_id=COLLECTOR, sort=sort)
        plan = await plan_of(url, lambda q: q.list_favorites(query))
        [scan] = [node for node in plan if node.get("Index Name") == BY_TIME]
        assert "favorited_at" in scan["Index Cond"]
        assert not kinds(plan) & {"Seq Scan", "Hash Join", "Merge Join", "Bitmap Heap Scan"}
        # Only the pages that were read together are sorted.
        assert ["Sort" in node["Node Type"] for node in plan].count(True) == 1

    @pytest.mark.parametrize("sort", [FavoriteSort.NEWEST, FavoriteSort.OLDEST])
    async def test_by_time_read_no_more_than_a_page_of_the_favorites(
        self, full_database: str, sort: FavoriteSort
    ) -> None:
        async with recorded(full_database) as (queries, _):
            query = FavoriteQuery(customer_id=COLLECTOR, sort=sort, limit=100)
            deep = (await queries.list_favorites(query)).page.next
            for _ in range(80):
                deep = (await queries.list_favorites(replace(query, after=deep))).page.next
        for after in (None, deep):
            page = replace(query, limit=25, after=after)
            read = await rows_read(
                full_database, partial(PostgresQueries.list_favorites, query=page)
            )
            assert read["favorites"] == 26
            assert read["favorite_lists"] == 1

    @pytest.mark.parametrize("sort", list(FavoriteSort))
    async def test_of_any_order_are_one_statement_without_reading_those_of_others(
        self, full_database: str, sort: FavoriteSort
    ) -> None:
        query = FavoriteQuery(customer_id=COLLECTOR, sort=sort, category="c1", q="1")
        async with recorded(full_database) as (queries, pool):
            for _ in range(2):
                first = await queries.list_favorites(query)
                assert len(first.page.items) == 25
            listed, _, *again = pool.statements
            assert again == [listed]
            # The next page, too, and a page without filters.
            await queries.list_favorites(replace(query, after=first.page.next))
            await queries.list_favorites(FavoriteQuery(customer_id=COLLECTOR, sort=sort))
            lists = [statement for statement in pool.statements if "max_rows" in statement]
            assert lists == [listed] * 4
        read = await rows_read(full_database, lambda q: q.list_favorites(query))
        assert read["favorites"] <= 10_000

    async def test_contain_what_is_found_in_the_index_alone(self, full_database: str) -> None:
        wanted = [ProductId(n) for n in range(1, 101)]
        async with recorded(full_database) as (queries, pool):
            assert (await queries.contains(COLLECTOR, wanted)).product_ids == set(wanted)
        [plan] = generic_plans(full_database, pool.statements)
        assert on(plan, "favorites") == {"Index Only Scan"}
        assert not kinds(plan) & {"Seq Scan", "Hash Join", "Merge Join"}

    async def test_are_not_read_for_their_version(self, full_database: str) -> None:
        async with recorded(full_database) as (queries, pool):
            assert (await queries.list_version(COLLECTOR)).favorites == 1
        [plan] = generic_plans(full_database, pool.statements)
        assert indexes(plan) == {
            "pk_favorite_lists",
            "pk_catalog_state",
            "pk_sessions",
            "pk_customers",
        }
        assert not scanned(plan)

    @pytest.mark.parametrize("since", [ChangePosition(), ChangePosition(1, 5_000)])
    async def test_have_changes_that_are_found_from_an_index_however_many_there_are(
        self, full_database: str, since: ChangePosition
    ) -> None:
        async with recorded(full_database) as (queries, pool):
            changes = await queries.list_changes(COLLECTOR, since=since, limit=100)
            assert len(changes.items) == (19 if since.version else 100)
            statement = pool.statements[0]
        [plan] = generic_plans(full_database, [statement])
        assert "ix_favorites_customer_id_changed_in_product_id" in indexes(plan)
        assert "ix_favorite_tombstones_customer_id_changed_in_product_id" in indexes(plan)
        assert not scanned(plan) & LARGE
        read = await rows_read(
            full_database,
            lambda q: q.list_changes(COLLECTOR, since=since, limit=100),
        )
        # Each once from the history, and once by its key.
        assert read["favorites"] <= 2 * 101
        assert read["favorite_tombstones"] <= 101

    async def test_are_not_read_to_find_out_what_the_catalog_changed(
        self, full_database: str
    ) -> None:
        with psycopg.connect(full_database, autocommit=True) as connection:
            connection.execute("UPDATE products_cache SET state_version = 5 WHERE product_id = 7")
            try:
                since = ChangePosition(1, 10_000)
                read = await rows_read(
                    full_database,
                    lambda q: q.list_changes(COLLECTOR, since=since, limit=100),
                )
            finally:
                connection.execute("UPDATE products_cache SET state_version = 0")
        assert read["favorites"] <= 101


class TestChanges:
    async def test_of_favorites_leave_the_others_unread(self, full_database: str) -> None:
        favorite = make.favorite(customer_id=COLLECTOR, product_id=7)
        key = (COLLECTOR, ProductId(7))
        async with in_transaction(full_database) as pool:
            writes = PostgresFavoriteWrites(pool, ProductRowCache(pool.fetch), patience=PATIENT)
            removed = await writes.remove(*key, now=make.NOW)
            assert removed is RemoveOutcome.REMOVED
            restored = await writes.restore(*key, removed_since=make.NOW, limits=LIMITS)
            assert restored is RestoreOutcome.RESTORED
            assert await writes.remove(*key, now=make.NOW) is RemoveOutcome.REMOVED
            assert await writes.add(favorite, limits=LIMITS) == AddResult(
                outcome=AddOutcome.ADDED, favorite=favorite
            )
            await writes.aclose()
            read = await pool.rows_read()
        assert {table: rows for table, rows in read.items() if table in LARGE and rows > 20} == {}

    async def test_of_pending_favorites_leave_the_others_unread(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        snapshot = Snapshot.of(make.product())
        async with work:
            with sent_by(engine) as sent:
                assert await work.favorites.confirm(ProductId(1000), snapshot) == 11
        lock, settle = await sent.plans()
        assert "ix_favorites_pending_product_id" in indexes(lock)
        assert not (scanned(lock) | scanned(settle)) & LARGE

    async def test_of_removals_find_them_from_an_index(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        before = make.NOW - 19_990 * make.MINUTE
        with sent_by(engine) as sent:
            async with work:
                changed = await work.favorites.forget_removed(
                    restorable_since=before, since=before
                )
        assert changed == 2 * 10
        content, lists, forget = await sent.plans()
        assert "ix_favorite_tombstones_restorable" in indexes(content)
        assert "ix_favorite_tombstones_removed_at" in indexes(lists)
        for plan in (content, lists, forget):
            assert not scanned(plan) & {"favorites", "favorite_tombstones"}

    async def test_of_customers_who_leave_read_no_favorites_of_others(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                assert await work.customers.remove(CustomerId(UUID(int=2)))
        for plan in await sent.plans():
            assert not scanned(plan) & LARGE


class TestQueries:
    async def test_use_keys_whatever_was_there_when_they_were_planned(self, url: str) -> None:
        ids = [ProductId(1), ProductId(2)]
        async with recorded(url) as (queries, pool):
            reads: list[Awaitable[object]] = [
                queries.find_principal(SessionId(COLLECTOR), now=make.NOW),
                queries.find_api_key(ApiKeyId("key")),
                queries.find_customer(COLLECTOR),
                queries.list_sessions(COLLECTOR, now=make.NOW),
                queries.find_records(COLLECTOR),
                queries.list_version(COLLECTOR),
                queries.find_favorite(COLLECTOR, ids[0]),
                queries.contains(COLLECTOR, ids),
                queries.list_changes(COLLECTOR, since=ChangePosition(), limit=5),
                queries.find_profile(COLLECTOR, limit=5),
                queries.find_product(ids[0]),
                queries.find_products(ids),
                queries.list_popular(at_least=1, limit=10),
                queries.list_prices(ids[0]),
                queries.list_favorited(fetched_before=make.NOW, limit=10),
                *(queries.list_products(ProductQuery(sort=sort)) for sort in ProductSort),
                *(
                    queries.list_favorites(FavoriteQuery(customer_id=COLLECTOR, sort=sort))
                    for sort in FavoriteSort
                ),
            ]
            for read in reads:
                # The result does not matter: there may be no customers yet.
                with suppress(CustomerNotFound):
                    await read
        statements = dict.fromkeys(pool.statements)
        plans = generic_plans(url, statements)
        assert len(plans) >= 20
        for statement, plan in zip(statements, plans, strict=True):
            assert not kinds(plan) & {"Seq Scan", "Hash Join", "Merge Join"}, statement
            # Never of all customers.
            assert not [node for node in plan if "hashed" in str(node.get("Filter"))], statement


class TestPopularity:
    async def test_is_listed_from_an_index(self, full_database: str) -> None:
        async with recorded(full_database) as (queries, pool):
            assert len(await queries.list_popular(at_least=3, limit=25)) == 25
        plan, _ = generic_plans(full_database, pool.statements)
        assert "ix_product_popularity_favorites_product_id" in indexes(plan)
        assert not kinds(plan) & {"Sort", "Incremental Sort", "Seq Scan"}

    async def test_is_reconciled_by_reading_everything_once(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                assert await work.popularity.reconcile() == 0
        assert len(sent.statements) == 2


class TestCustomers:
    @pytest.mark.parametrize(
        ("sort", "index"),
        [
            (CustomerSort.OLDEST, "ix_customers_created_at_id"),
            (CustomerSort.NEWEST, "ix_customers_created_at_id"),
            (CustomerSort.NAME, "ix_customers_name_key_id"),
            (CustomerSort.EMAIL, "uq_customers_email_key"),
        ],
    )
    async def test_are_listed_from_an_index(
        self, full_database: str, sort: CustomerSort, index: str
    ) -> None:
        async with recorded(full_database) as (queries, pool):
            first = await queries.list_customers(CustomerQuery(sort=sort))
            after = CustomerQuery(sort=sort, after=first.next)
            assert len((await queries.list_customers(after)).items) == 25
        for plan in generic_plans(full_database, pool.statements):
            assert indexes(plan) == {index}
            assert not kinds(plan) & {"Sort", "Incremental Sort", "Seq Scan"}
        for query in (CustomerQuery(sort=sort), after):
            read = await rows_read(
                full_database, partial(PostgresQueries.list_customers, query=query)
            )
            assert read["customers"] == 26

    async def test_are_found_by_the_beginning_of_their_name_from_an_index(
        self, full_database: str
    ) -> None:
        query = CustomerQuery(name="NAME 1234")
        async with recorded(full_database) as (queries, pool):
            assert len((await queries.list_customers(query)).items) == 11
        [plan] = generic_plans(full_database, pool.statements)
        assert indexes(plan) == {"ix_customers_name_key_id"}
        read = await rows_read(full_database, lambda q: q.list_customers(query))
        assert read["customers"] == 11

    async def test_are_found_by_their_address_from_an_index(self, full_database: str) -> None:
        query = CustomerQuery(email="1234@Example.com")
        async with recorded(full_database) as (queries, pool):
            assert len((await queries.list_customers(query)).items) == 1
        [plan] = generic_plans(full_database, pool.statements)
        assert indexes(plan) == {"uq_customers_email_key"}


class TestProducts:
    @pytest.mark.parametrize(
        ("sort", "index"),
        [
            (ProductSort.ID, "pk_products_cache"),
            (ProductSort.CHEAPEST, "ix_products_cache_price"),
            (ProductSort.DEAREST, "ix_products_cache_price"),
        ],
    )
    async def test_are_listed_from_an_index(
        self, full_database: str, sort: ProductSort, index: str
    ) -> None:
        async with recorded(full_database) as (queries, pool):
            _, first = await queries.list_products(ProductQuery(sort=sort))
            after = ProductQuery(sort=sort, after=first.next)
            await queries.list_products(after)
        [plan] = generic_plans(full_database, pool.statements[:1])
        assert indexes(plan) == {index, "pk_catalog_state"}
        assert not kinds(plan) & {"Sort", "Incremental Sort", "Seq Scan"}
        read = await rows_read(full_database, lambda q: q.list_products(after))
        # One more than the page has room for, and then the page by its keys.
        assert read["products_cache"] == 26 + 25

    async def test_that_are_due_are_found_from_an_index(self, full_database: str) -> None:
        async with recorded(full_database) as (queries, pool):
            due = await queries.list_favorited(
                fetched_before=datetime.max.replace(tzinfo=make.NOW.tzinfo), limit=20
            )
        assert due == [ProductId(n) for n in range(10_000, 9_980, -1)]
        [plan] = generic_plans(full_database, pool.statements)
        assert "ix_products_cache_fetched_at" in indexes(plan)


class TestSessions:
    async def test_that_have_ended_are_found_from_an_index(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                purged = await work.sessions.purge(
                    before=make.NOW + timedelta(minutes=10, seconds=1)
                )
        assert purged == 10
        assert "ix_sessions_over_since" in indexes(await sent.plan())
