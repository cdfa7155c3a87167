"""Adding a favorite: by one statement for a product seen before, otherwise after a lookup."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from app.domain.favorite import FavoriteStatus, Snapshot
from app.domain.outcome import (
    CustomerNotFound,
    DomainError,
    FavoritesFull,
    InvalidToken,
    ProductNotFound,
    TooManyPending,
)
from app.domain.product import CachedProduct, ProductId
from app.domain.writes import AddOutcome, FavoriteLimits
from tests import make
from tests.unit.application.favorites_world import FavoritesWorld
from tests.unit.application.product_world import (
    EXPIRED,
    FIVE,
    FRESH,
    POLICY,
    STALE,
    begin,
)

OLD = make.product(id=5, price="10.00")
NEW = replace(OLD, price=Decimal("12.00"))


async def seen_before(world: FavoritesWorld, *, age: timedelta = make.SECOND) -> CachedProduct:
    """Store a copy of the product, and let a query of this process return it."""
    await world.known(OLD, age=age)
    copy = await world.queries.find_product(FIVE)
    assert isinstance(copy, CachedProduct)
    return copy


class TestAProductSeenBefore:
    async def test_is_added_by_one_statement(self) -> None:
        world = FavoritesWorld(NEW)
        customer, copy = await world.customer(), await seen_before(world)

        added = await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        assert added.created
        assert added.item.cached == copy
        assert added.item.favorite.favorited_at == world.clock()
        assert added.item.favorite.when_favorited == Snapshot.of(OLD)
        assert await world.stored(customer) == [added.item.favorite]
        assert (world.writes.seen, world.queries.found) == ([copy], [])
        assert (world.answers, world.catalog.calls) == ({"hit": 1}, 0)
        assert world.main.observer.counts["collapsed"] == 0

    async def test_stays_as_it_is_if_it_is_a_favorite(self) -> None:
        world = FavoritesWorld(NEW)
        customer, copy = await world.customer(), await seen_before(world)
        first = await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        world.clock.advance(make.SECOND)

        again = await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        assert again.created is False
        assert again.item == first.item
        assert (world.writes.seen, world.queries.found) == ([copy, copy], [])
        assert world.answers == {"hit": 2}

    async def test_is_read_again_if_it_has_changed_since(self) -> None:
        world = FavoritesWorld()
        customer, copy = await world.customer(), await seen_before(world)
        await world.known(NEW)

        added = await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        assert added.created
        assert added.item.favorite.when_favorited == Snapshot.of(NEW)
        assert (world.writes.seen, world.queries.found) == ([copy, None], [FIVE])
        # Only the copy that was used is counted.
        assert (world.answers, world.catalog.calls) == ({"hit": 1}, 0)

    async def test_is_a_bug_if_it_changes_without_being_compared(self) -> None:
        world = FavoritesWorld(outcome=AddOutcome.PRODUCT_CHANGED)
        customer, copy = await world.customer(), await seen_before(world)
        with pytest.raises(RuntimeError, match="changed"):
            await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        assert world.writes.seen == [copy, None]

    @pytest.mark.parametrize("age", [STALE, EXPIRED])
    async def test_is_looked_up_unless_it_is_fresh(self, age: timedelta) -> None:
        world = FavoritesWorld(OLD)
        customer, _ = await world.customer(), await seen_before(world, age=age)
        assert (await world.favorite_product(customer_id=customer.id, product_id=FIVE)).created
        assert (world.writes.seen, world.queries.found) == ([None], [FIVE])

    async def test_is_fresh_up_to_the_soft_ttl(self) -> None:
        world = FavoritesWorld(OLD)
        customer, copy = await world.customer(), await seen_before(world, age=FRESH)
        await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        assert world.writes.seen == [copy]

    async def test_is_not_found_if_the_catalog_has_dropped_it(self) -> None:
        world = FavoritesWorld()
        customer, _ = await world.customer(), await seen_before(world)
        for _ in range(2):
            await world.main.reader.validate(FIVE)
            world.clock.advance(make.SECOND)
        await world.queries.find_product(FIVE)
        with pytest.raises(ProductNotFound):
            await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        assert world.writes.seen == []


class TestAProductNotSeenBefore:
    async def test_is_read_from_the_catalog(self) -> None:
        world = FavoritesWorld(NEW)
        customer = await world.customer()

        added = await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        assert (added.created, added.item.status) == (True, FavoriteStatus.AVAILABLE)
        assert added.item.cached == await world.row(FIVE)
        assert (world.writes.seen, world.queries.found) == ([None], [FIVE])
        assert world.answers == {"miss": 1, "product ok": 1}

    async def test_is_not_asked_for_if_it_is_a_favorite(self) -> None:
        world = FavoritesWorld(NEW)
        customer = await world.customer()
        first = await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        world.clock.advance(EXPIRED)
        world.catalog.down = True
        calls = world.catalog.calls

        again = await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        assert not again.created
        assert again.item == first.item
        assert world.catalog.calls == calls
        assert len(world.writes.seen) == 1

    async def test_is_not_asked_for_while_it_is_pending(self) -> None:
        world = FavoritesWorld(NEW)
        customer = await world.customer()
        world.catalog.down = True
        first = await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        world.clock.advance(POLICY.backoff)
        calls = world.catalog.calls

        again = await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        assert (again.created, again.item.status) == (False, FavoriteStatus.PENDING)
        assert again.item == first.item
        assert (world.catalog.calls, world.storage.jobs) == (calls, [FIVE])

    async def test_is_not_found_if_the_catalog_does_not_list_it(self) -> None:
        world = FavoritesWorld()
        customer = await world.customer()
        for _ in range(2):
            with pytest.raises(ProductNotFound):
                await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        assert world.catalog.calls == 1
        assert (world.writes.seen, world.storage.jobs) == ([], [])


class TestAPendingFavorite:
    async def test_is_accepted_while_the_catalog_is_unavailable(self) -> None:
        world = FavoritesWorld(NEW)
        customer = await world.customer()
        world.catalog.down = True

        added = await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        assert (added.created, added.item.status) == (True, FavoriteStatus.PENDING)
        assert (added.item.cached, added.item.favorite.when_favorited) == (None, None)
        assert world.storage.jobs == [FIVE]
        assert world.answers == {"product failed": 1, "refused": 1}

    async def test_is_accepted_if_the_catalog_does_not_respond_in_time(self) -> None:
        world = FavoritesWorld(NEW, patience=timedelta(milliseconds=1))
        customer = await world.customer()
        world.catalog.hold()

        added = await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        assert (added.created, added.item.status) == (True, FavoriteStatus.PENDING)
        world.catalog.release()
        await world.main.tasks.run()
        assert isinstance(await world.row(FIVE), CachedProduct)

    async def test_is_replaced_if_the_catalog_had_rejected_it(self) -> None:
        world = FavoritesWorld()
        customer = await world.customer()
        world.catalog.down = True
        await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        async with world.storage() as work:
            await work.favorites.reject(FIVE, now=world.clock())
            await work.commit()
        world.catalog.down = False
        world.clock.advance(POLICY.backoff)
        with pytest.raises(ProductNotFound):
            await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        world.catalog.put(NEW)
        world.clock.advance(POLICY.negative_ttl)
        added = await world.favorite_product(customer_id=customer.id, product_id=FIVE)

        assert (added.created, added.item.status) == (True, FavoriteStatus.AVAILABLE)
        assert added.item.favorite.favorited_at == world.clock()

    async def test_counts_against_its_own_limit(self) -> None:
        world = FavoritesWorld(NEW, limits=FavoriteLimits(total=2, pending=0))
        customer = await world.customer()
        await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        world.catalog.down = True
        with pytest.raises(TooManyPending):
            await world.favorite_product(customer_id=customer.id, product_id=ProductId(6))


class TestASession:
    @pytest.mark.parametrize("seen", [True, False])
    async def test_is_verified_before_the_catalog_is_called(self, *, seen: bool) -> None:
        world = FavoritesWorld(NEW)
        customer, other = await world.customer(), await world.customer()
        ended, theirs = await world.session(customer), await world.session(other)
        async with world.storage() as work:
            await work.sessions.save(ended.ended(world.clock()))
            await work.commit()
        if seen:
            await seen_before(world)
        for session in (ended, theirs):
            with pytest.raises(InvalidToken):
                await world.favorite_product(
                    customer_id=customer.id, product_id=FIVE, session=world.check(session)
                )
        assert (world.catalog.calls, await world.stored(customer)) == (0, [])

    @pytest.mark.parametrize("seen", [True, False])
    async def test_may_add_while_it_is_active(self, *, seen: bool) -> None:
        world = FavoritesWorld(NEW)
        customer = await world.customer()
        session = await world.session(customer)
        if seen:
            await seen_before(world)
        added = await world.favorite_product(
            customer_id=customer.id, product_id=FIVE, session=world.check(session)
        )
        assert added.created

    async def test_is_verified_again_after_the_catalog_was_called(self) -> None:
        world = FavoritesWorld(NEW)
        customer = await world.customer()
        session = await world.session(customer)
        world.catalog.hold()
        adding = begin(
            world.favorite_product(
                customer_id=customer.id, product_id=FIVE, session=world.check(session)
            )
        )
        await world.catalog.asked.wait()
        async with world.storage() as work:
            await work.sessions.save(session.ended(world.clock()))
            await work.commit()
        world.catalog.release()
        with pytest.raises(InvalidToken):
            await adding
        assert await world.stored(customer) == []


class TestOutcomes:
    @pytest.mark.parametrize("seen", [True, False])
    @pytest.mark.parametrize(
        ("outcome", "error"),
        [
            (AddOutcome.FULL, FavoritesFull),
            (AddOutcome.TOO_MANY_PENDING, TooManyPending),
            (AddOutcome.NO_CUSTOMER, CustomerNotFound),
            (AddOutcome.SESSION_ENDED, InvalidToken),
            (AddOutcome.NO_PRODUCT, ProductNotFound),
        ],
    )
    async def test_that_add_nothing_are_errors(
        self, outcome: AddOutcome, error: type[DomainError], *, seen: bool
    ) -> None:
        world = FavoritesWorld(NEW, outcome=outcome)
        customer = await world.customer()
        if seen:
            await seen_before(world)
        with pytest.raises(error) as raised:
            await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        assert str(raised.value) not in {"", "None"}
        assert len(world.writes.seen) == 1
        assert world.answers == ({} if seen else {"miss": 1, "product ok": 1})
