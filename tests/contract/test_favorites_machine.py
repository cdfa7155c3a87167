"""Two clients of one account do anything in any order, and see what a simple model says."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from app.domain.favorite import ChangeKind, ChangePosition, FavoriteQuery
from app.domain.outcome import ChangesForgotten
from app.domain.page import Position
from app.domain.product import ProductId
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import (
    AddOutcome,
    FavoriteLimits,
    FavoriteWrites,
    RemoveOutcome,
    RestoreOutcome,
)
from app.infra.postgres.engine import sessions_of
from app.infra.postgres.favorite_writes import PostgresFavoriteWrites
from app.infra.postgres.queries import PostgresQueries
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests import make
from tests.contract.step import do
from tests.database import PATIENT, patient_engine, postgres_pool
from tests.double.favorite_writes import InMemoryFavoriteWrites
from tests.double.queries import InMemoryQueries
from tests.double.storage import InMemoryStorage

T = TypeVar("T")

IDS = tuple(ProductId(number) for number in range(1, 8))
LIMITS = FavoriteLimits(total=5, pending=3)
WINDOW = 10 * make.MINUTE
KEPT = make.HOUR
ids = st.sampled_from(IDS)
clients = st.integers(0, 1)


class Client:
    """A client's copy of the list, and the page that it is on."""

    def __init__(self) -> None:
        self.since = ChangePosition()
        self.favorites: dict[ProductId, datetime] = {}
        self.after: Position | None = None
        self.walked: list[ProductId] = []
        self.untouched: set[ProductId] = set()


@dataclass(frozen=True, kw_only=True)
class Storage:
    uow: UnitOfWorkFactory
    queries: Queries
    writes: FavoriteWrites


class FavoritesOfAnAccount(RuleBasedStateMachine):
    """Two clients that add, remove, restore, page and synchronize; jobs; upkeep; time."""

    def __init__(self, runner: asyncio.Runner, storage: Callable[[], Storage]) -> None:
        super().__init__()
        self.runner, self.make_storage = runner, storage

    @initialize()
    def begin(self) -> None:
        storage = self.make_storage()
        self.uow, self.queries, self.writes = storage.uow, storage.queries, storage.writes
        self.now = make.NOW
        self.favorites: dict[ProductId, datetime] = {}
        self.waiting: set[ProductId] = set()
        self.rejected: set[ProductId] = set()
        self.removed: dict[ProductId, tuple[datetime, datetime, bool, bool]] = {}
        self.changes = 0
        self.clients = (Client(), Client())
        self.customer = make.customer()
        self.run(do(self.uow, lambda work: work.customers.add(self.customer)))

    def run(self, step: Coroutine[object, object, T]) -> T:
        return self.runner.run(step)

    def changed(self, product_id: ProductId) -> None:
        self.changes += 1
        for client in self.clients:
            client.untouched.discard(product_id)

    @rule(product_id=ids, waits=st.booleans())
    def add(self, product_id: ProductId, waits: bool) -> None:
        favorite = make.favorite(
            customer_id=self.customer.id,
            product_id=product_id,
            favorited_at=self.now,
            when_favorited=None if waits else make.snapshot(),
        )
        result = self.run(self.writes.add(favorite, limits=LIMITS))
        there = product_id in self.favorites
        if there and product_id not in self.rejected:
            expected = AddOutcome.PRESENT
            assert result.favorite is not None
            assert result.favorite.favorited_at == self.favorites[product_id]
        elif not there and len(self.favorites) >= LIMITS.total:
            expected = AddOutcome.FULL
        elif waits and len(self.waiting) >= LIMITS.pending:
            expected = AddOutcome.TOO_MANY_PENDING
        else:
            expected = AddOutcome.ADDED
            assert result.favorite == favorite
            self.favorites[product_id] = self.now
            self.rejected.discard(product_id)
            if waits:
                self.waiting.add(product_id)
            self.removed.pop(product_id, None)
            self.changed(product_id)
        assert result.outcome is expected

    @rule(product_id=ids)
    def remove(self, product_id: ProductId) -> None:
        outcome = self.run(self.writes.remove(self.customer.id, product_id, now=self.now))
        if product_id not in self.favorites:
            assert outcome is RemoveOutcome.ABSENT
            return
        assert outcome is RemoveOutcome.REMOVED
        self.removed[product_id] = (
            self.now,
            self.favorites.pop(product_id),
            product_id in self.waiting,
            product_id in self.rejected,
        )
        self.waiting.discard(product_id)
        self.rejected.discard(product_id)
        self.changed(product_id)

    @rule(product_id=ids)
    def restore(self, product_id: ProductId) -> None:
        outcome = self.run(
            self.writes.restore(
                self.customer.id,
                product_id,
                removed_since=self.now - WINDOW,
                limits=LIMITS,
            )
        )
        removal = self.removed.get(product_id)
        if product_id in self.favorites:
            assert outcome is RestoreOutcome.PRESENT
        elif removal is None or removal[0] < self.now - WINDOW:
            assert outcome is RestoreOutcome.NOT_RESTORABLE
        elif len(self.favorites) >= LIMITS.total:
            assert outcome is RestoreOutcome.FULL
        else:
            assert outcome is RestoreOutcome.RESTORED
            _, self.favorites[product_id], waits, rejected = self.removed.pop(product_id)
            if waits:
                self.waiting.add(product_id)
            if rejected:
                self.rejected.add(product_id)
            self.changed(product_id)

    @rule(product_id=ids, exists=st.booleans())
    def catalog_answers(self, product_id: ProductId, exists: bool) -> None:
        """Settle a pending favorite, as the job of its product does."""
        settled = self.run(
            do(
                self.uow,
                lambda work: (
                    work.favorites.confirm(product_id, make.snapshot())
                    if exists
                    else work.favorites.reject(product_id, now=self.now)
                ),
            )
        )
        assert settled == (product_id in self.waiting)
        if settled:
            self.waiting.remove(product_id)
            if not exists:
                self.rejected.add(product_id)
            self.changes += 1

    @rule(number=clients, limit=st.integers(1, 3))
    def page(self, number: int, limit: int) -> None:
        client = self.clients[number]
        if client.after is None:
            client.walked, client.untouched = [], set(self.favorites)
        query = FavoriteQuery(customer_id=self.customer.id, limit=limit, after=client.after)
        page = self.run(self.queries.list_favorites(query)).page
        client.walked += [item.favorite.product_id for item in page.items]
        client.after = page.next
        if page.next is None:
            kept = [p for p in client.walked if p in client.untouched]
            assert len(kept) == len(set(kept))
            assert set(kept) == client.untouched
            assert kept == self.ordered(client.untouched)

    def ordered(self, products: set[ProductId]) -> list[ProductId]:
        return sorted(products, key=lambda p: (self.favorites[p], p), reverse=True)

    @rule(number=clients, limit=st.integers(1, 3), steps=st.integers(1, 9))
    def sync(self, number: int, limit: int, steps: int) -> None:
        """Synchronize, if only in some steps; a client that is up to date has the same list."""
        client = self.clients[number]
        for _ in range(steps):
            try:
                changes = self.run(
                    self.queries.list_changes(self.customer.id, since=client.since, limit=limit)
                )
            except ChangesForgotten:
                client.since, client.favorites = ChangePosition(), {}
                continue
            assert len(changes.items) <= limit
            for change in changes.items:
                if change.item is None:
                    assert change.kind is ChangeKind.REMOVED
                    client.favorites.pop(change.product_id, None)
                else:
                    assert change.kind is ChangeKind.ADDED or change.product_id in client.favorites
                    client.favorites[change.product_id] = change.item.favorite.favorited_at
            client.since = changes.seen
            if not changes.more:
                assert client.favorites == self.favorites
                return

    @rule(passed=st.sampled_from([timedelta(0), make.SECOND, 6 * make.MINUTE, 40 * make.MINUTE]))
    def time_passes(self, passed: timedelta) -> None:
        self.now += passed

    @rule()
    def upkeep(self) -> None:
        self.run(
            do(
                self.uow,
                lambda work: work.favorites.forget_removed(
                    restorable_since=self.now - WINDOW, since=self.now - KEPT
                ),
            )
        )
        assert self.run(do(self.uow, lambda work: work.popularity.reconcile())) == 0

    @invariant()
    def all_queries_agree(self) -> None:
        records = self.run(self.queries.find_records(self.customer.id))
        assert records is not None
        favorites = [item.favorite for item in records.favorites]
        assert [f.product_id for f in favorites] == self.ordered(set(self.favorites))
        assert {f.product_id: f.favorited_at for f in favorites} == self.favorites
        assert {f.product_id for f in favorites if f.pending} == self.waiting
        assert {f.product_id for f in favorites if f.rejected_at} == self.rejected
        contained = self.run(self.queries.contains(self.customer.id, IDS))
        assert contained.product_ids == self.favorites.keys()
        assert contained.version.favorites == self.changes
        assert self.run(self.queries.list_version(self.customer.id)) == contained.version

    @override
    def teardown(self) -> None:
        try:
            for number, client in enumerate(self.clients):
                self.sync(number, limit=3, steps=50)
                assert client.favorites == self.favorites
        finally:
            # The catalog answers for all customers, also for those of other examples.
            self.run(do(self.uow, lambda work: work.customers.remove(self.customer.id)))


def in_memory() -> Storage:
    storage = InMemoryStorage()
    return Storage(
        uow=storage, queries=InMemoryQueries(storage), writes=InMemoryFavoriteWrites(storage)
    )


async def on_postgresql(url: str, stack: AsyncExitStack) -> Storage:
    engine = patient_engine(url)
    stack.push_async_callback(engine.dispose)
    pool = await stack.enter_async_context(postgres_pool(url))
    row_cache = ProductRowCache(pool.fetch)
    queries = PostgresQueries(pool, row_cache, patience=PATIENT)
    stack.push_async_callback(queries.aclose)
    writes = PostgresFavoriteWrites(pool, row_cache, patience=PATIENT)
    stack.push_async_callback(writes.aclose)
    uow = partial(PostgresUnitOfWork, sessions_of(engine), budget=PATIENT)
    return Storage(uow=uow, queries=queries, writes=writes)


class TestFavoritesOfAnAccount:
    def test_are_what_the_model_says_in_memory(self) -> None:
        with asyncio.Runner() as runner:
            run_state_machine_as_test(
                lambda: FavoritesOfAnAccount(runner, in_memory),  # type: ignore[arg-type]  # any factory will do
                settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
            )

    @pytest.mark.postgres
    def test_are_what_the_model_says_on_postgresql(self, new_database: Callable[..., str]) -> None:
        # A database of its own: other tests expect theirs to be empty.
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            storage = runner.run(on_postgresql(new_database(migrated=True), stack))
            run_state_machine_as_test(
                lambda: FavoritesOfAnAccount(runner, lambda: storage),  # type: ignore[arg-type]  # any factory will do
                settings=settings(max_examples=20, stateful_step_count=30, deadline=None),
            )
            runner.run(stack.aclose())
