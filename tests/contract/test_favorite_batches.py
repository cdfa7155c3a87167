"""Several favorites of a customer changed at once: as one after the other, and rehearsed."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.customer import CustomerId
from app.domain.favorite import ChangePosition, Favorite
from app.domain.outcome import CustomerNotFound
from app.domain.product import ProductId
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import AddOutcome, FavoriteLimits, FavoriteWrites, RemoveOutcome
from tests import make
from tests.contract.conftest import WaitingJobs
from tests.contract.favorites import (
    add,
    added,
    assert_counts_are_right,
    listed,
    popularity,
    removed,
    stored_customer,
    version,
)
from tests.contract.step import do, on_storage
from tests.make import HOUR, LIMITS, NOW, SECOND

IDS = tuple(ProductId(number) for number in range(1, 7))


def favorite(customer_id: CustomerId, product_id: int, *, waits: bool = False) -> Favorite:
    return make.favorite(
        customer_id=customer_id,
        product_id=product_id,
        favorited_at=NOW + product_id * SECOND,
        when_favorited=None if waits else make.snapshot(),
    )


class TestChange:
    async def test_removes_and_adds_and_returns_each_outcome(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        waiting_jobs: WaitingJobs,
    ) -> None:
        customer = await stored_customer(uow)
        one, two, three, four = (favorite(customer.id, number) for number in range(1, 5))
        waits = favorite(customer.id, 5, waits=True)
        await add(favorite_writes, one, two)
        outcomes = await favorite_writes.change(
            customer.id,
            # Not in the order of ids.
            add={
                waits.product_id: waits,
                four.product_id: four,
                two.product_id: replace(two, favorited_at=NOW + HOUR),
                ProductId(6): None,
                three.product_id: three,
            },
            remove=[ProductId(7), one.product_id],
            now=NOW + HOUR,
            limits=LIMITS,
        )
        assert outcomes == {
            1: RemoveOutcome.REMOVED,
            2: AddOutcome.PRESENT,
            3: AddOutcome.ADDED,
            4: AddOutcome.ADDED,
            5: AddOutcome.ADDED,
            6: AddOutcome.NO_PRODUCT,
            7: RemoveOutcome.ABSENT,
        }
        assert await listed(queries, customer.id) == [waits, four, three, two]
        assert [(r.product_id, r.removed_at) for r in await removed(queries, customer.id)] == [
            (1, NOW + HOUR)
        ]
        changes = await queries.list_changes(
            customer.id, since=ChangePosition(version=2, product_id=2), limit=10
        )
        assert [change.product_id for change in changes.items] == [1, 3, 4, 5]
        assert await version(queries, customer.id) == 6
        assert await waiting_jobs() == [5]
        assert await popularity(uow, queries, ProductId(1)) == 0
        assert await popularity(uow, queries, ProductId(3)) == 1
        await assert_counts_are_right(uow)

    async def test_finds_a_favorite_of_a_product_that_the_catalog_does_not_list(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        await add(favorite_writes, stored := favorite(customer.id, 1))
        outcomes = await favorite_writes.change(
            customer.id, add={stored.product_id: None}, now=NOW, limits=LIMITS
        )
        assert outcomes == {1: AddOutcome.PRESENT}

    async def test_makes_room_by_removing_first(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        await add(favorite_writes, *(favorite(customer.id, number) for number in (8, 9)))
        outcomes = await favorite_writes.change(
            customer.id,
            add={ProductId(n): favorite(customer.id, n) for n in (1, 2)},
            remove=[ProductId(9)],
            now=NOW,
            limits=FavoriteLimits(total=2, pending=0),
        )
        assert outcomes == {1: AddOutcome.ADDED, 2: AddOutcome.FULL, 9: RemoveOutcome.REMOVED}
        assert [f.product_id for f in await listed(queries, customer.id)] == [8, 1]

    async def test_of_nothing_returns_nothing(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        assert await favorite_writes.change(customer.id, add={}, now=NOW, limits=LIMITS) == {}
        assert await version(queries, customer.id) == 0

    @pytest.mark.parametrize("dry_run", [False, True])
    async def test_needs_a_customer(
        self, favorite_writes: FavoriteWrites, waiting_jobs: WaitingJobs, dry_run: bool
    ) -> None:
        customer_id = make.customer_id()
        for to_add in ({}, {IDS[0]: favorite(customer_id, IDS[0], waits=True)}):
            with pytest.raises(CustomerNotFound):
                await favorite_writes.change(
                    customer_id, add=to_add, now=NOW, limits=LIMITS, dry_run=dry_run
                )
        with pytest.raises(CustomerNotFound):
            await favorite_writes.change(
                customer_id, add={}, remove=[IDS[0]], now=NOW, limits=LIMITS
            )
        assert await waiting_jobs() == []

    async def test_side_by_side_respects_the_limits(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        limits = FavoriteLimits(total=9, pending=4)
        results = await asyncio.gather(
            *(
                favorite_writes.change(
                    customer.id,
                    add={
                        ProductId(n): favorite(customer.id, n, waits=n % 2 == 0)
                        for n in range(first, first + 6)
                    },
                    now=NOW,
                    limits=limits,
                )
                for first in (1, 7, 13, 19)
            )
        )
        outcomes = [outcome for result in results for outcome in result.values()]
        favorites = await listed(queries, customer.id)
        assert outcomes.count(AddOutcome.ADDED) == len(favorites) == limits.total
        assert sum(f.pending for f in favorites) <= limits.pending
        await assert_counts_are_right(uow)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Favorites that are there, and a change of them: a product is added pending or confirmed."""

    stored: Mapping[ProductId, str]
    add: Mapping[ProductId, str]
    remove: Sequence[ProductId]
    limits: FavoriteLimits


STATES = st.sampled_from(["confirmed", "pending", "rejected"])
ADDED = st.sampled_from(["confirmed", "pending", "unlisted"])


@st.composite
def batches(draw: st.DrawFn, *, removes: bool = True) -> Batch:
    to_add = draw(st.dictionaries(st.sampled_from(IDS), ADDED))
    rest = [product_id for product_id in IDS if product_id not in to_add]
    return Batch(
        stored=draw(st.dictionaries(st.sampled_from(IDS), STATES)),
        add=to_add,
        remove=draw(st.lists(st.sampled_from(rest), unique=True)) if rest and removes else [],
        limits=FavoriteLimits(total=draw(st.integers(0, 7)), pending=draw(st.integers(0, 4))),
    )


async def owner_of(
    uow: UnitOfWorkFactory, writes: FavoriteWrites, stored: Mapping[ProductId, str]
) -> CustomerId:
    """Store a customer with favorites in these states."""
    customer = await stored_customer(uow)
    await add(
        writes,
        *(
            favorite(customer.id, product_id, waits=state != "confirmed")
            for product_id, state in sorted(stored.items())
        ),
    )
    # Only those are pending of whose products no other customer has a pending favorite.
    async with uow() as work:
        for product_id, state in sorted(stored.items()):
            if state == "rejected":
                await work.favorites.reject(product_id, now=NOW)
        await work.commit()
    return customer.id


def to_add(batch: Batch, customer_id: CustomerId) -> dict[ProductId, Favorite | None]:
    return {
        product_id: (
            None
            if state == "unlisted"
            else favorite(customer_id, product_id, waits=state == "pending")
        )
        for product_id, state in batch.add.items()
    }


async def one_by_one(
    writes: FavoriteWrites, batch: Batch, customer_id: CustomerId
) -> Mapping[ProductId, AddOutcome | RemoveOutcome]:
    """Make the changes of a batch in single calls, removals first."""
    outcomes: dict[ProductId, AddOutcome | RemoveOutcome] = {}
    for product_id in sorted(batch.remove):
        outcomes[product_id] = await writes.remove(customer_id, product_id, now=NOW)
    for product_id, new in sorted(to_add(batch, customer_id).items()):
        if new is None:
            single = await writes.change(
                customer_id, add={product_id: None}, now=NOW, limits=batch.limits
            )
            outcomes |= single
        else:
            result = await writes.add(new, limits=batch.limits)
            outcomes[product_id] = result.outcome
    return outcomes


class TestBatches:
    @given(batch=batches())
    @on_storage
    async def test_change_as_much_as_single_calls(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        batch: Batch,
    ) -> None:
        one = await owner_of(uow, favorite_writes, batch.stored)
        other = await owner_of(uow, favorite_writes, batch.stored)
        singly = await one_by_one(favorite_writes, batch, one)
        together = await favorite_writes.change(
            other, add=to_add(batch, other), remove=batch.remove, now=NOW, limits=batch.limits
        )
        assert together == singly
        expected = [replace(f, customer_id=other) for f in await listed(queries, one)]
        assert await listed(queries, other) == expected
        assert await removed(queries, other) == await removed(queries, one)
        assert await version(queries, other) == await version(queries, one)
        histories = [
            await queries.list_changes(
                customer_id, since=ChangePosition(version=len(batch.stored)), limit=100
            )
            for customer_id in (one, other)
        ]
        first, second = ([(c.product_id, c.kind) for c in h.items] for h in histories)
        assert first == second
        await assert_counts_are_right(uow)
        # Not to be settled by the next example.
        for customer_id in (one, other):
            await do(uow, lambda work, id_=customer_id: work.customers.remove(id_))  # type: ignore[misc]  # bound now

    @given(batch=batches(removes=False))
    @on_storage
    async def test_rehearsed_have_the_same_outcomes_and_change_nothing(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        waiting_jobs: WaitingJobs,
        batch: Batch,
    ) -> None:
        customer_id = await owner_of(uow, favorite_writes, batch.stored)
        before = await queries.find_records(customer_id)
        history, jobs = await version(queries, customer_id), await waiting_jobs()
        add_ = to_add(batch, customer_id)
        rehearsed = await favorite_writes.change(
            customer_id, add=add_, now=NOW, limits=batch.limits, dry_run=True
        )
        assert await queries.find_records(customer_id) == before
        assert await version(queries, customer_id) == history
        assert await waiting_jobs() == jobs
        done = await favorite_writes.change(customer_id, add=add_, now=NOW, limits=batch.limits)
        assert rehearsed == done
        await do(uow, lambda work: work.customers.remove(customer_id))


class TestDryRun:
    async def test_waits_for_no_lock_and_takes_none(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        waits = favorite(customer.id, 1, waits=True)
        await add(favorite_writes, waits)
        new = favorite(customer.id, 2)
        async with uow() as work:
            # Locks the list until this unit ends.
            await work.favorites.reject(waits.product_id, now=NOW)
            outcomes = await favorite_writes.change(
                customer.id, add={new.product_id: new}, now=NOW, limits=LIMITS, dry_run=True
            )
        assert outcomes == {2: AddOutcome.ADDED}
        assert await listed(queries, customer.id) == [waits]
        assert await favorite_writes.add(new, limits=LIMITS) == added(new)

    async def test_of_a_customer_without_a_list_creates_none(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        outcomes = await favorite_writes.change(
            customer.id,
            add={n: favorite(customer.id, n, waits=n % 2 == 0) for n in IDS},
            now=NOW,
            limits=FavoriteLimits(total=4, pending=1),
            dry_run=True,
        )
        assert outcomes == {
            1: AddOutcome.ADDED,
            2: AddOutcome.ADDED,
            3: AddOutcome.ADDED,
            4: AddOutcome.TOO_MANY_PENDING,
            5: AddOutcome.ADDED,
            6: AddOutcome.FULL,
        }
        assert await listed(queries, customer.id) == []
        assert await version(queries, customer.id) == 0
