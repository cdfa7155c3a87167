from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.customer import CustomerId, CustomerQuery, CustomerSort
from app.domain.favorite import ChangePosition, FavoriteQuery, FavoriteSort, Snapshot
from app.domain.product import ProductId, ProductQuery, ProductSort
from app.domain.repository import UnitOfWork
from app.domain.session import SessionId
from app.infra.postgres.engine import sessions_of
from app.infra.postgres.lookup.lookups import PostgresLookups
from app.infra.postgres.row_cache import Copies
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests import make
from tests.database import PATIENT, patient_engine, postgres_lanes
from tests.integration.postgres.plan import Told, generic_plans, sent_by

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


class TestFavorites:
    @pytest.mark.parametrize("sort", [FavoriteSort.NEWEST, FavoriteSort.OLDEST])
    async def test_are_listed_by_time_from_an_index_however_many_there_are(
        self, engine: AsyncEngine, work: UnitOfWork, sort: FavoriteSort
    ) -> None:
        async with work:
            first = await work.favorites.list_page(
                FavoriteQuery(customer_id=COLLECTOR, sort=sort, limit=100)
            )
            for after in (None, first.next):
                with sent_by(engine) as sent:
                    page = await work.favorites.list_page(
                        FavoriteQuery(customer_id=COLLECTOR, sort=sort, after=after)
                    )
                plan = await sent.plan()
                assert len(page.items) == 25
                assert "ix_favorites_customer_id_favorited_at_product_id" in indexes(plan)
                assert not kinds(plan) & {"Sort", "Incremental Sort", "Seq Scan"}
                [scan] = [n for n in plan if "favorited_at" in n.get("Index Name", "")]
                assert ("favorited_at" in scan["Index Cond"]) == (after is not None)

    @pytest.mark.parametrize("sort", list(FavoriteSort))
    async def test_are_listed_by_one_statement(
        self, engine: AsyncEngine, work: UnitOfWork, sort: FavoriteSort
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                page = await work.favorites.list_page(
                    FavoriteQuery(customer_id=COLLECTOR, sort=sort, category="c1", q="1")
                )
        assert len(page.items) == 25
        assert len(sent.statements) == 1

    async def test_are_found_in_the_index_alone(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        wanted = [ProductId(n) for n in range(1, 101)]
        with sent_by(engine) as sent:
            async with work:
                found = await work.favorites.contains(COLLECTOR, wanted)
        assert found == set(wanted)
        assert kinds(await sent.plan()) == {"Index Only Scan"}

    async def test_that_wait_are_found_without_looking_at_the_others(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        snapshot = Snapshot.of(make.product())
        async with work:
            with sent_by(engine) as sent:
                assert await work.favorites.confirm(ProductId(1000), snapshot) == 11
        lock, settle = await sent.plans()
        assert "ix_favorites_pending_product_id" in indexes(lock)
        assert not (scanned(lock) | scanned(settle)) & LARGE

    async def test_are_changed_without_looking_at_the_others(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        key = (COLLECTOR, ProductId(7))
        put = make.favorite(customer_id=COLLECTOR, product_id=7)
        async with work:
            with sent_by(engine) as sent:
                assert await work.favorites.remove(*key, now=make.NOW)
                assert await work.favorites.restore(
                    *key, removed_since=make.NOW, at_most=make.PLENTY
                )
                assert await work.favorites.remove(*key, now=make.NOW)
                assert await work.favorites.put(put, at_most=make.PLENTY)
        for plan in await sent.plans():
            assert not scanned(plan) & LARGE

    async def test_are_not_looked_at_for_their_version(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                version = await work.favorites.version(COLLECTOR)
        assert version.favorites == 1
        # The catalog's state is a single row.
        assert indexes(await sent.plan()) <= {"pk_favorite_lists", "pk_catalog_state"}
        assert not scanned(await sent.plan()) & LARGE

    @pytest.mark.parametrize("since", [ChangePosition(), ChangePosition(1, 5_000)])
    async def test_that_changed_are_found_from_an_index_however_many_there_are(
        self, engine: AsyncEngine, work: UnitOfWork, since: ChangePosition
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                changes = await work.favorites.list_changes(COLLECTOR, since=since, limit=100)
        assert len(changes.items) == (19 if since.version else 100)
        history, items = await sent.plans()
        assert "ix_favorites_customer_id_changed_in_product_id" in indexes(history)
        tombstones = "ix_favorite_tombstones_customer_id_changed_in_product_id"
        assert (tombstones in indexes(history)) == (since.version > 0)
        for plan in (history, items):
            assert not scanned(plan) & LARGE

    async def test_that_were_removed_long_ago_are_found_from_an_index(
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

    async def test_are_no_longer_counted_without_looking_at_those_of_others(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                assert await work.customers.remove(CustomerId(UUID(int=2)))
        for plan in await sent.plans():
            assert not scanned(plan) & LARGE


class TestLookups:
    """Statements that are planned once, maybe when there was nothing in any table yet."""

    @pytest.fixture(params=["empty", "full"])
    def url(self, request: pytest.FixtureRequest, new_database: Callable[..., str]) -> str:
        if request.param == "empty":
            return new_database(migrated=True)
        full: str = request.getfixturevalue("full_database")
        return full

    async def test_go_by_keys_whatever_there_was_when_they_were_planned(self, url: str) -> None:
        ids = [ProductId(1), ProductId(2)]
        async with postgres_lanes(url) as lanes:
            told = Told(lanes)
            lookups = PostgresLookups(told, Copies(told.fetch), patience=PATIENT)
            await lookups.find_principal(SessionId(COLLECTOR), now=make.NOW)
            await lookups.find_product(ids[0])
            await lookups.find_favorite(COLLECTOR, ids[0])
            await lookups.list_version(COLLECTOR)
            await lookups.contains(COLLECTOR, ids)
            await lookups.list_newest(COLLECTOR, limit=25)
            await lookups.aclose()
        plans = generic_plans(url, told.statements)
        assert len(plans) >= 6
        for plan in plans:
            assert not kinds(plan) & {"Seq Scan", "Hash Join", "Merge Join"}, plan
        # Newest first comes from the index; only those who ask together are put in order.
        [newest] = [
            plan
            for statement, plan in zip(told.statements, plans, strict=True)
            if "LATERAL" in statement
        ]
        assert "ix_favorites_customer_id_favorited_at_product_id" in indexes(newest)
        assert ["Sort" in node["Node Type"] for node in newest].count(True) == 1


class TestPopularity:
    async def test_is_listed_from_an_index(self, engine: AsyncEngine, work: UnitOfWork) -> None:
        with sent_by(engine) as sent:
            async with work:
                popular = await work.popularity.list_popular(at_least=3, limit=25)
        assert len(popular) == 25
        plan = await sent.plan()
        assert "ix_product_popularity_favorites_product_id" in indexes(plan)
        assert not kinds(plan) & {"Sort", "Incremental Sort", "Seq Scan"}

    async def test_is_reconciled_by_one_look_at_everything(
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
        self, engine: AsyncEngine, work: UnitOfWork, sort: CustomerSort, index: str
    ) -> None:
        async with work:
            first = await work.customers.list_page(CustomerQuery(sort=sort))
            with sent_by(engine) as sent:
                await work.customers.list_page(CustomerQuery(sort=sort, after=first.next))
        plan = await sent.plan()
        assert indexes(plan) == {index}
        assert not kinds(plan) & {"Sort", "Incremental Sort", "Seq Scan"}

    async def test_are_found_by_the_beginning_of_their_name_from_an_index(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                page = await work.customers.list_page(CustomerQuery(name="NAME 1234"))
        assert len(page.items) == 11
        assert indexes(await sent.plan()) == {"ix_customers_name_key_id"}


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
        self, engine: AsyncEngine, work: UnitOfWork, sort: ProductSort, index: str
    ) -> None:
        async with work:
            first = await work.products.list_page(ProductQuery(sort=sort))
            with sent_by(engine) as sent:
                await work.products.list_page(ProductQuery(sort=sort, after=first.next))
        plan = await sent.plan()
        assert indexes(plan) == {index}
        assert not kinds(plan) & {"Sort", "Incremental Sort", "Seq Scan"}

    async def test_that_are_due_are_found_from_an_index(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                due = await work.products.list_favorited(
                    fetched_before=datetime.max.replace(tzinfo=make.NOW.tzinfo), limit=20
                )
        assert due == [ProductId(n) for n in range(10_000, 9_980, -1)]
        assert "ix_products_cache_fetched_at" in indexes(await sent.plan())


class TestSessions:
    async def test_that_are_over_are_found_from_an_index(
        self, engine: AsyncEngine, work: UnitOfWork
    ) -> None:
        with sent_by(engine) as sent:
            async with work:
                purged = await work.sessions.purge(
                    before=make.NOW + timedelta(minutes=10, seconds=1)
                )
        assert purged == 10
        assert "ix_sessions_over_since" in indexes(await sent.plan())
