"""Whatever two clients of one account do in whatever order: they see what a simple model says."""

import asyncio
from collections.abc import Awaitable, Callable
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
from app.domain.outcome import ChangesForgotten, FavoritesFull
from app.domain.page import Position
from app.domain.product import ProductId
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from app.infra.postgres.engine import sessions_of
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from tests import make
from tests.contract.step import do
from tests.database import PATIENT, patient_engine
from tests.double.storage import InMemoryStorage

T = TypeVar("T")

IDS = tuple(ProductId(number) for number in range(1, 8))
AT_MOST = 5
WINDOW = 10 * make.MINUTE
KEPT = make.HOUR
ids = st.sampled_from(IDS)
clients = st.integers(0, 1)


class Client:
    """What a client holds of the list, and a page that it is on."""

    def __init__(self) -> None:
        self.since = ChangePosition()
        self.favorites: dict[ProductId, datetime] = {}
        self.after: Position | None = None
        self.walked: list[ProductId] = []
        self.untouched: set[ProductId] = set()


class FavoritesOfAnAccount(RuleBasedStateMachine):
    """Two clients that add, remove, restore, page and sync; upkeep; time."""

    def __init__(self, runner: asyncio.Runner, storage: Callable[[], UnitOfWorkFactory]) -> None:
        super().__init__()
        self.runner, self.storage = runner, storage

    @initialize()
    def begin(self) -> None:
        self.uow = self.storage()
        self.now = make.NOW
        self.favorites: dict[ProductId, datetime] = {}
        self.removed: dict[ProductId, tuple[datetime, datetime]] = {}
        self.changes = 0
        self.clients = (Client(), Client())
        self.customer = make.customer()
        self.do(lambda work: work.customers.add(self.customer))

    def do(self, action: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        return self.runner.run(do(self.uow, action))

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
        try:
            added = self.do(lambda work: work.favorites.put(favorite, at_most=AT_MOST))
        except FavoritesFull:
            assert product_id not in self.favorites
            assert len(self.favorites) == AT_MOST
            return
        assert added == (product_id not in self.favorites)
        if added:
            assert len(self.favorites) < AT_MOST
            self.favorites[product_id] = self.now
            self.removed.pop(product_id, None)
            self.changed(product_id)

    @rule(product_id=ids)
    def remove(self, product_id: ProductId) -> None:
        removed = self.do(
            lambda work: work.favorites.remove(self.customer.id, product_id, now=self.now)
        )
        assert removed == (product_id in self.favorites)
        if removed:
            self.removed[product_id] = (self.now, self.favorites.pop(product_id))
            self.changed(product_id)

    @rule(product_id=ids)
    def restore(self, product_id: ProductId) -> None:
        removed_at, favorited_at = self.removed.get(product_id, (None, None))
        possible = removed_at is not None and removed_at >= self.now - WINDOW
        try:
            restored = self.do(
                lambda work: work.favorites.restore(
                    self.customer.id,
                    product_id,
                    removed_since=self.now - WINDOW,
                    at_most=AT_MOST,
                )
            )
        except FavoritesFull:
            assert possible
            assert len(self.favorites) == AT_MOST
            return
        assert restored == possible
        if restored and favorited_at is not None:
            self.favorites[product_id] = favorited_at
            del self.removed[product_id]
            self.changed(product_id)

    @rule(number=clients, limit=st.integers(1, 3))
    def page(self, number: int, limit: int) -> None:
        client = self.clients[number]
        if client.after is None:
            client.walked, client.untouched = [], set(self.favorites)
        query = FavoriteQuery(customer_id=self.customer.id, limit=limit, after=client.after)
        page = self.do(lambda work: work.favorites.list_page(query))
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
        """Catch up, be it as far as some steps get; whoever is up to date has the same list."""
        client = self.clients[number]
        for _ in range(steps):
            since = client.since
            try:
                changes = self.do(
                    lambda work, since=since: work.favorites.list_changes(  # type: ignore[misc]  # bound now
                        self.customer.id, since=since, limit=limit
                    )
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
        self.do(
            lambda work: work.favorites.forget_removed(
                restorable_since=self.now - WINDOW, since=self.now - KEPT
            )
        )
        assert self.do(lambda work: work.popularity.reconcile()) == 0

    @invariant()
    def everybody_sees_the_same(self) -> None:
        items = self.do(lambda work: work.favorites.list_all(self.customer.id))
        assert [item.favorite.product_id for item in items] == self.ordered(set(self.favorites))
        assert {i.favorite.product_id: i.favorite.favorited_at for i in items} == self.favorites
        found = self.do(lambda work: work.favorites.contains(self.customer.id, IDS))
        assert found == self.favorites.keys()
        version = self.do(lambda work: work.favorites.version(self.customer.id))
        assert version.favorites == self.changes

    @override
    def teardown(self) -> None:
        for number, client in enumerate(self.clients):
            self.sync(number, limit=3, steps=50)
            assert client.favorites == self.favorites


def in_memory() -> UnitOfWorkFactory:
    return InMemoryStorage()


class TestFavoritesOfAnAccount:
    def test_are_what_the_model_says_in_memory(self) -> None:
        with asyncio.Runner() as runner:
            run_state_machine_as_test(
                lambda: FavoritesOfAnAccount(runner, in_memory),  # type: ignore[arg-type]  # any factory will do
                settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
            )

    @pytest.mark.postgres
    def test_are_what_the_model_says_on_postgresql(self, database_url: str) -> None:
        engine = patient_engine(database_url)
        uow = partial(PostgresUnitOfWork, sessions_of(engine), budget=PATIENT)
        with asyncio.Runner() as runner:
            run_state_machine_as_test(
                lambda: FavoritesOfAnAccount(runner, lambda: uow),  # type: ignore[arg-type]  # any factory will do
                settings=settings(max_examples=20, stateful_step_count=30, deadline=None),
            )
            runner.run(engine.dispose())
