"""What becomes of a list of favorites: its version, its history, what can be restored."""

from datetime import datetime, timedelta

import pytest

from app.domain.customer import Customer
from app.domain.favorite import (
    ChangeKind,
    ChangePosition,
    Changes,
    Favorite,
    FavoriteStatus,
    ListVersion,
)
from app.domain.outcome import ChangesForgotten, CustomerNotFound, FavoritesFull
from app.domain.product import Product, ProductId
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from tests import make
from tests.contract.step import do, see, side_by_side
from tests.make import HOUR, MINUTE, NOW, PLENTY, SECOND

BEGINNING = ChangePosition()
ADDED, CHANGED, REMOVED = ChangeKind.ADDED, ChangeKind.CHANGED, ChangeKind.REMOVED


async def stored_customer(uow: UnitOfWorkFactory) -> Customer:
    customer = make.customer()
    await do(uow, lambda work: work.customers.add(customer))
    return customer


async def put(uow: UnitOfWorkFactory, *favorites: Favorite, at_most: int = PLENTY) -> None:
    """Add favorites, each in a unit of its own."""
    for favorite in favorites:
        await do(uow, lambda work, f=favorite: work.favorites.put(f, at_most=at_most))  # type: ignore[misc]  # bound now


async def remove(uow: UnitOfWorkFactory, favorite: Favorite, *, ago: timedelta = 0 * HOUR) -> bool:
    return await do(
        uow,
        lambda work: work.favorites.remove(
            favorite.customer_id, favorite.product_id, now=NOW - ago
        ),
    )


async def restore(
    uow: UnitOfWorkFactory,
    favorite: Favorite,
    *,
    window: timedelta = HOUR,
    at_most: int = PLENTY,
) -> bool:
    return await do(
        uow,
        lambda work: work.favorites.restore(
            favorite.customer_id,
            favorite.product_id,
            removed_since=NOW - window,
            at_most=at_most,
        ),
    )


async def forget(uow: UnitOfWorkFactory, *, content: timedelta, all_: timedelta) -> int:
    return await do(
        uow,
        lambda work: work.favorites.forget_removed(
            restorable_since=NOW - content, since=NOW - all_
        ),
    )


async def changes(
    uow: UnitOfWorkFactory,
    customer: Customer,
    since: ChangePosition = BEGINNING,
    *,
    limit: int = 100,
) -> Changes:
    return await do(
        uow, lambda work: work.favorites.list_changes(customer.id, since=since, limit=limit)
    )


def brief(found: Changes) -> list[tuple[int, ChangeKind]]:
    assert all((change.item is None) == (change.kind is REMOVED) for change in found.items)
    return [(change.product_id, change.kind) for change in found.items]


async def version(uow: UnitOfWorkFactory, customer: Customer) -> ListVersion:
    return await see(uow, lambda work: work.favorites.version(customer.id))


async def note_absence(uow: UnitOfWorkFactory, product: Product, *, times: int = 2) -> None:
    for number in range(times):
        asked_at = NOW + (number + 1) * SECOND
        await do(
            uow,
            lambda work, at=asked_at: work.products.note_absence(  # type: ignore[misc]  # bound now
                product.id, asked_at=at, until=at + MINUTE
            ),
        )


class TestRemovals:
    async def test_are_listed_as_long_as_they_are_remembered(self, uow: UnitOfWorkFactory) -> None:
        customer, other = await stored_customer(uow), await stored_customer(uow)
        kept, early, late = (
            make.favorite(customer_id=customer.id, product_id=number) for number in (1, 2, 3)
        )
        theirs = make.favorite(customer_id=other.id, product_id=4)
        await put(uow, kept, early, late, theirs)
        await remove(uow, early, ago=2 * HOUR)
        await remove(uow, late, ago=HOUR)
        await remove(uow, theirs)

        async def removed() -> list[tuple[int, datetime]]:
            listed = await see(uow, lambda work: work.favorites.list_removed(customer.id))
            return [(each.product_id, each.removed_at) for each in listed]

        assert await removed() == [(3, NOW - HOUR), (2, NOW - 2 * HOUR)]
        await restore(uow, late, window=2 * HOUR)
        await do(
            uow,
            lambda work: work.favorites.forget_removed(restorable_since=NOW, since=NOW - MINUTE),
        )
        assert await removed() == []


class TestBounds:
    async def test_hold_for_each_customer(self, uow: UnitOfWorkFactory) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        await put(uow, *(make.favorite(customer_id=one.id) for _ in range(2)), at_most=2)
        assert await see(uow, lambda work: work.favorites.count(one.id)) == 2
        assert await see(uow, lambda work: work.favorites.count(other.id)) == 0
        with pytest.raises(FavoritesFull):
            await put(uow, make.favorite(customer_id=one.id), at_most=2)
        await put(uow, make.favorite(customer_id=other.id), at_most=2)

    async def test_hold_side_by_side(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)

        async def add(work: UnitOfWork) -> bool:
            return await work.favorites.put(make.favorite(customer_id=customer.id), at_most=3)

        results = await side_by_side(8, uow, add)
        assert sorted(type(result).__name__ for result in results) == (
            ["FavoritesFull"] * 5 + ["bool"] * 3
        )

    async def test_do_not_matter_to_what_is_there(self, uow: UnitOfWorkFactory) -> None:
        favorite = make.favorite(customer_id=(await stored_customer(uow)).id)
        await put(uow, favorite, at_most=1)
        assert not await do(uow, lambda work: work.favorites.put(favorite, at_most=1))

    async def test_have_room_again_after_a_removal(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        first, second = (make.favorite(customer_id=customer.id) for _ in range(2))
        await put(uow, first, at_most=1)
        assert await remove(uow, first)
        await put(uow, second, at_most=1)
        with pytest.raises(FavoritesFull):
            await restore(uow, first, at_most=1)
        assert await remove(uow, second)
        assert await restore(uow, first, at_most=1)


class TestRestoring:
    @pytest.mark.parametrize("state", ["confirmed", "pending", "rejected"])
    async def test_brings_back_what_there_was(self, uow: UnitOfWorkFactory, state: str) -> None:
        favorite = make.favorite(
            customer_id=(await stored_customer(uow)).id,
            favorited_at=NOW - 5 * HOUR,
            when_favorited=make.snapshot() if state == "confirmed" else None,
            rejected_at=NOW if state == "rejected" else None,
        )
        await put(uow, favorite)
        await remove(uow, favorite)
        assert await restore(uow, favorite)
        assert not await restore(uow, favorite)
        item = await see(uow, lambda w: w.favorites.get(favorite.customer_id, favorite.product_id))
        assert item is not None
        assert item.favorite == favorite

    async def test_is_possible_within_a_window(self, uow: UnitOfWorkFactory) -> None:
        favorite = make.favorite(customer_id=(await stored_customer(uow)).id)
        await put(uow, favorite)
        await remove(uow, favorite, ago=MINUTE)
        assert not await restore(uow, favorite, window=MINUTE - SECOND)
        assert await restore(uow, favorite, window=MINUTE)

    async def test_is_impossible_once_the_content_is_forgotten(
        self, uow: UnitOfWorkFactory
    ) -> None:
        favorite = make.favorite(customer_id=(await stored_customer(uow)).id)
        await put(uow, favorite)
        await remove(uow, favorite, ago=MINUTE)
        assert await forget(uow, content=MINUTE, all_=HOUR) == 0
        assert await forget(uow, content=SECOND, all_=HOUR) == 1
        assert await forget(uow, content=SECOND, all_=HOUR) == 0
        assert not await restore(uow, favorite)

    async def test_knows_nothing_of_what_was_favorited_anew(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        old = make.favorite(customer_id=customer.id, product_id=5)
        new = make.favorite(customer_id=customer.id, product_id=5, favorited_at=NOW + HOUR)
        await put(uow, old)
        await remove(uow, old)
        await put(uow, new)
        assert not await restore(uow, old)
        item = await see(uow, lambda work: work.favorites.get(customer.id, ProductId(5)))
        assert item is not None
        assert item.favorite == new

    async def test_finds_nothing_of_others(self, uow: UnitOfWorkFactory) -> None:
        favorite = make.favorite(customer_id=(await stored_customer(uow)).id)
        await put(uow, favorite)
        await remove(uow, favorite)
        other = await stored_customer(uow)
        for customer_id in (other.id, make.customer_id()):
            theirs = make.favorite(customer_id=customer_id, product_id=favorite.product_id)
            assert not await restore(uow, theirs)


class TestVersions:
    async def test_grow_by_one_with_every_change(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        favorite = make.favorite(customer_id=customer.id, when_favorited=None)
        id_ = favorite.product_id
        seen = [await version(uow, customer)]
        for change in (
            lambda work: work.favorites.put(favorite, at_most=PLENTY),
            lambda work: work.favorites.confirm(id_, make.snapshot()),
            lambda work: work.favorites.remove(customer.id, id_, now=NOW),
            lambda work: work.favorites.restore(
                customer.id, id_, removed_since=NOW, at_most=PLENTY
            ),
        ):
            for _ in range(2):  # the second time nothing changes
                await do(uow, change)
            seen.append(await version(uow, customer))
        assert [v.favorites for v in seen] == [0, 1, 2, 3, 4]
        assert {v.catalog for v in seen} == {seen[0].catalog}

    async def test_are_each_customers_own(self, uow: UnitOfWorkFactory) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        before = await version(uow, other)
        await put(uow, make.favorite(customer_id=one.id))
        assert await version(uow, other) == before

    async def test_of_nobody_are_those_of_an_empty_list(self, uow: UnitOfWorkFactory) -> None:
        found = await see(uow, lambda work: work.favorites.version(make.customer_id()))
        assert found == await version(uow, await stored_customer(uow))

    async def test_do_not_change_without_a_commit(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        await see(
            uow,
            lambda w: w.favorites.put(make.favorite(customer_id=customer.id), at_most=PLENTY),
        )
        assert (await version(uow, customer)).favorites == 0

    @pytest.mark.parametrize(
        "look",
        [
            {"title": "Another"},
            {"price": "1.00"},
            {"description": "Another"},
            {"category": "another"},
            {"image": "https://example.com/another.png"},
            {"rating": None},
        ],
    )
    async def test_change_with_what_a_product_looks_like(
        self, uow: UnitOfWorkFactory, look: dict[str, str]
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        seen = []
        for number, shown in enumerate(
            (product, product, make.product(id=product.id, **look), product)  # type: ignore[arg-type]  # names and types as there
        ):
            seen.append((await version(uow, customer)).catalog)
            at = NOW + number * SECOND
            await do(uow, lambda work, p=shown, at=at: work.products.store([p], asked_at=at))  # type: ignore[misc]  # bound now
        seen.append((await version(uow, customer)).catalog)
        first, stored, refreshed, changed, back = seen
        assert first < stored == refreshed < changed < back

    async def test_do_not_change_by_an_older_answer(self, uow: UnitOfWorkFactory) -> None:
        customer, product = await stored_customer(uow), make.product()
        older = make.product(id=product.id, price="1.00")
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        before = await version(uow, customer)
        await do(uow, lambda work: work.products.store([older], asked_at=NOW - SECOND))
        assert await version(uow, customer) == before

    async def test_change_when_a_product_goes_and_comes_back(self, uow: UnitOfWorkFactory) -> None:
        customer, gone, stays = await stored_customer(uow), make.product(), make.product()
        await do(uow, lambda work: work.products.store([gone, stays], asked_at=NOW))
        seen = [(await version(uow, customer)).catalog]
        for number in range(1, 4):
            at = NOW + number * SECOND
            await do(
                uow,
                lambda work, at=at: work.products.note_complete_list([stays.id], asked_at=at),  # type: ignore[misc]  # bound now
            )
            seen.append((await version(uow, customer)).catalog)
        await do(uow, lambda work: work.products.store([gone], asked_at=NOW + MINUTE))
        seen.append((await version(uow, customer)).catalog)
        known, missing, removed, still, back = seen
        assert known == missing < removed == still < back


class TestChanges:
    async def test_are_the_list_at_first(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        kept, gone = (make.favorite(customer_id=customer.id) for _ in range(2))
        await put(uow, gone, kept)
        await remove(uow, gone)
        found = await changes(uow, customer)
        assert brief(found) == [(kept.product_id, ADDED)]
        assert found.items[0].item is not None
        assert found.items[0].item.favorite == kept
        assert not found.more
        again = await changes(uow, customer, found.seen)
        assert (brief(again), again.seen, again.more) == ([], found.seen, False)

    async def test_are_none_of_an_empty_list(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        found = await changes(uow, customer)
        assert (brief(found), found.more) == ([], False)
        await put(uow, favorite := make.favorite(customer_id=customer.id))
        assert brief(await changes(uow, customer, found.seen)) == [(favorite.product_id, ADDED)]

    async def test_tell_what_happened_once_and_in_order(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        one, two, waits, four = (
            make.favorite(customer_id=customer.id, when_favorited=snapshot)
            for snapshot in (make.snapshot(), make.snapshot(), None, make.snapshot())
        )
        await put(uow, one, two, waits)
        since = (await changes(uow, customer)).seen
        await remove(uow, one)
        await put(uow, four)
        await do(uow, lambda work: work.favorites.confirm(waits.product_id, make.snapshot()))
        await remove(uow, two)
        await restore(uow, two)
        found = await changes(uow, customer, since)
        assert brief(found) == [
            (one.product_id, REMOVED),
            (four.product_id, ADDED),
            (waits.product_id, CHANGED),
            (two.product_id, ADDED),
        ]
        assert found.items[2].item is not None
        assert found.items[2].item.status is not FavoriteStatus.REMOVED
        assert brief(await changes(uow, customer, found.seen)) == []

    async def test_come_in_pages(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        favorites = [make.favorite(customer_id=customer.id) for _ in range(5)]
        await put(uow, *favorites)
        since, seen, more = BEGINNING, [], True
        while more:
            page = await changes(uow, customer, since, limit=2)
            seen += brief(page)
            since, more = page.seen, page.more
        assert seen == [(favorite.product_id, ADDED) for favorite in favorites]
        for favorite in favorites[:3]:
            await remove(uow, favorite)
        first = await changes(uow, customer, since, limit=2)
        assert (len(first.items), first.more) == (2, True)
        rest = await changes(uow, customer, first.seen, limit=2)
        assert (len(rest.items), rest.more) == (1, False)

    async def test_while_the_list_is_read_are_told_after_it(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        one, two, three = (make.favorite(customer_id=customer.id) for _ in range(3))
        await put(uow, one, two, three)
        first = await changes(uow, customer, limit=2)
        await remove(uow, one, ago=MINUTE)
        rest = await changes(uow, customer, first.seen, limit=2)
        assert (brief(rest), rest.more) == ([(three.product_id, ADDED)], True)
        last = await changes(uow, customer, rest.seen, limit=2)
        assert (brief(last), last.more) == ([(one.product_id, REMOVED)], False)

    async def test_tell_that_a_product_came_or_went(self, uow: UnitOfWorkFactory) -> None:
        customer, other = await stored_customer(uow), await stored_customer(uow)
        product = make.product()
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        await put(
            uow,
            make.favorite(customer_id=customer.id, product_id=product.id),
            make.favorite(customer_id=customer.id),
            make.favorite(customer_id=other.id),
        )
        since = (await changes(uow, customer)).seen
        others = (await changes(uow, other)).seen

        await note_absence(uow, product, times=1)
        assert brief(await changes(uow, customer, since)) == []
        await note_absence(uow, product)
        gone = await changes(uow, customer, since)
        await do(uow, lambda work: work.products.store([product], asked_at=NOW + HOUR))
        back = await changes(uow, customer, gone.seen)

        assert brief(gone) == brief(back) == [(product.id, CHANGED)]
        statuses = [change.item.status for f in (gone, back) for change in f.items if change.item]
        assert statuses == [FavoriteStatus.REMOVED, FavoriteStatus.AVAILABLE]
        assert brief(await changes(uow, customer, back.seen)) == []
        assert brief(await changes(uow, other, others)) == []

    async def test_are_forgotten_with_the_removals(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        favorites = [make.favorite(customer_id=customer.id) for _ in range(3)]
        await put(uow, *favorites)
        long_ago = (await changes(uow, customer)).seen
        await remove(uow, favorites[0], ago=HOUR)
        lately = (await changes(uow, customer, long_ago)).seen
        await remove(uow, favorites[1], ago=MINUTE)

        # What it was, and then that it was; of the later one only what it was.
        assert await forget(uow, content=SECOND, all_=2 * MINUTE) == 3
        with pytest.raises(ChangesForgotten):
            await changes(uow, customer, long_ago)
        assert brief(await changes(uow, customer, lately)) == [(favorites[1].product_id, REMOVED)]
        assert brief(await changes(uow, customer)) == [(favorites[2].product_id, ADDED)]

    async def test_can_be_read_from_the_beginning_in_pages_whatever_is_forgotten(
        self, uow: UnitOfWorkFactory
    ) -> None:
        customer = await stored_customer(uow)
        one, two, gone = (make.favorite(customer_id=customer.id) for _ in range(3))
        await put(uow, one, two, gone)
        await remove(uow, gone, ago=HOUR)
        assert await forget(uow, content=MINUTE, all_=MINUTE) == 2
        first = await changes(uow, customer, limit=1)
        rest = await changes(uow, customer, first.seen, limit=1)
        assert brief(first) + brief(rest) == [(one.product_id, ADDED), (two.product_id, ADDED)]
        assert brief(await changes(uow, customer, rest.seen)) == []

    async def test_are_unknown_of_a_version_that_never_was(self, uow: UnitOfWorkFactory) -> None:
        """As after the database was put back to an older state."""
        customer = await stored_customer(uow)
        with pytest.raises(ChangesForgotten):
            await changes(uow, customer, ChangePosition(version=5))

    async def test_go_with_the_customer(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        kept, gone = (make.favorite(customer_id=customer.id) for _ in range(2))
        await put(uow, kept, gone)
        await remove(uow, gone)
        assert await do(uow, lambda work: work.customers.remove(customer.id))
        assert brief(await changes(uow, customer)) == []
        assert (await version(uow, customer)).favorites == 0
        assert not await restore(uow, gone)
        with pytest.raises(CustomerNotFound):
            await put(uow, kept)
