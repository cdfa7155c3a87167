"""The version and the history of a list of favorites."""

import asyncio
from datetime import timedelta

import pytest

from app.domain.access import SessionCheck
from app.domain.customer import Customer
from app.domain.favorite import (
    ChangeKind,
    ChangePosition,
    Changes,
    Favorite,
    FavoriteStatus,
    ListVersion,
)
from app.domain.outcome import ChangesForgotten, CustomerNotFound, InvalidToken
from app.domain.product import Product
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import AddOutcome, FavoriteWrites, RestoreOutcome, SignInWrites
from tests import make
from tests.contract.favorites import add, removed, stored_customer, stored_session
from tests.contract.step import do, see
from tests.make import DAY, HOUR, LIMITS, MINUTE, NOW, SECOND

BEGINNING = ChangePosition()
ADDED, CHANGED, REMOVED = ChangeKind.ADDED, ChangeKind.CHANGED, ChangeKind.REMOVED


async def remove(writes: FavoriteWrites, favorite: Favorite, *, ago: timedelta = 0 * HOUR) -> None:
    await writes.remove(favorite.customer_id, favorite.product_id, now=NOW - ago)


async def restore(
    writes: FavoriteWrites, favorite: Favorite, *, window: timedelta = HOUR
) -> RestoreOutcome:
    return await writes.restore(
        favorite.customer_id,
        favorite.product_id,
        removed_since=NOW - window,
        limits=LIMITS,
    )


async def forget(uow: UnitOfWorkFactory, *, content: timedelta, all_: timedelta) -> int:
    return await do(
        uow,
        lambda work: work.favorites.forget_removed(
            restorable_since=NOW - content, since=NOW - all_
        ),
    )


class History:
    """The changes of one customer's list, with those of the catalog."""

    def __init__(self, queries: Queries, writes: FavoriteWrites, customer: Customer) -> None:
        self._queries = queries
        self._writes = writes
        self._customer = customer

    async def __call__(self, since: ChangePosition = BEGINNING, *, limit: int = 100) -> Changes:
        found = await self._queries.list_changes(self._customer.id, since=since, limit=limit)
        if found.behind:
            await self._writes.enter_catalog_changes(self._customer.id)
            found = await self._queries.list_changes(self._customer.id, since=since, limit=limit)
        assert not found.behind
        return found


def brief(found: Changes) -> list[tuple[int, ChangeKind]]:
    assert all((change.item is None) == (change.kind is REMOVED) for change in found.items)
    return [(change.product_id, change.kind) for change in found.items]


async def version(queries: Queries, customer: Customer) -> ListVersion:
    return await queries.list_version(customer.id)


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
    async def test_are_listed_as_long_as_they_are_remembered(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, other = await stored_customer(uow), await stored_customer(uow)
        kept, early, late = (
            make.favorite(customer_id=customer.id, product_id=number) for number in (1, 2, 3)
        )
        theirs = make.favorite(customer_id=other.id, product_id=4)
        await add(favorite_writes, kept, early, late, theirs)
        await remove(favorite_writes, early, ago=2 * HOUR)
        await remove(favorite_writes, late, ago=HOUR)
        await remove(favorite_writes, theirs)
        assert [(r.product_id, r.removed_at) for r in await removed(queries, customer.id)] == [
            (3, NOW - HOUR),
            (2, NOW - 2 * HOUR),
        ]
        assert await restore(favorite_writes, late, window=2 * HOUR) is RestoreOutcome.RESTORED
        await forget(uow, content=0 * HOUR, all_=MINUTE)
        assert await removed(queries, customer.id) == []

    async def test_lose_their_content_once(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        favorite = make.favorite(customer_id=(await stored_customer(uow)).id)
        await add(favorite_writes, favorite)
        await remove(favorite_writes, favorite, ago=MINUTE)
        assert await forget(uow, content=MINUTE, all_=HOUR) == 0
        assert await forget(uow, content=SECOND, all_=HOUR) == 1
        assert await forget(uow, content=SECOND, all_=HOUR) == 0
        assert await restore(favorite_writes, favorite) is RestoreOutcome.NOT_RESTORABLE
        assert len(await removed(queries, favorite.customer_id)) == 1


class TestVersions:
    async def test_grow_by_one_with_every_change(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        favorite = make.favorite(customer_id=customer.id, when_favorited=None)
        id_ = favorite.product_id
        seen = [await version(queries, customer)]
        for change in (
            lambda: favorite_writes.add(favorite, limits=LIMITS),
            lambda: do(uow, lambda work: work.favorites.confirm(id_, make.snapshot())),
            lambda: remove(favorite_writes, favorite),
            lambda: restore(favorite_writes, favorite),
        ):
            for _ in range(2):  # the second time nothing changes
                await change()
            seen.append(await version(queries, customer))
        assert [v.favorites for v in seen] == [0, 1, 2, 3, 4]
        assert {v.catalog for v in seen} == {seen[0].catalog}

    async def test_are_each_customers_own(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        before = await version(queries, other)
        await add(favorite_writes, make.favorite(customer_id=one.id))
        assert await version(queries, other) == before

    async def test_need_a_customer(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        with pytest.raises(CustomerNotFound):
            await queries.list_version(make.customer_id())
        assert (await version(queries, await stored_customer(uow))).favorites == 0

    async def test_do_not_change_without_a_commit(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        waits = make.favorite(customer_id=customer.id, when_favorited=None)
        await add(favorite_writes, waits)
        before = await version(queries, customer)
        await see(uow, lambda work: work.favorites.reject(waits.product_id, now=NOW))
        assert await version(queries, customer) == before

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
        self, uow: UnitOfWorkFactory, queries: Queries, look: dict[str, str]
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        seen = []
        for number, shown in enumerate(
            (product, product, make.product(id=product.id, **look), product)  # type: ignore[arg-type]  # names and types as there
        ):
            seen.append((await version(queries, customer)).catalog)
            at = NOW + number * SECOND
            await do(uow, lambda work, p=shown, at=at: work.products.store([p], asked_at=at))  # type: ignore[misc]  # bound now
        seen.append((await version(queries, customer)).catalog)
        first, stored, refreshed, changed, back = seen
        assert first < stored == refreshed < changed < back

    async def test_do_not_change_by_an_older_answer(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        older = make.product(id=product.id, price="1.00")
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        before = await version(queries, customer)
        await do(uow, lambda work: work.products.store([older], asked_at=NOW - SECOND))
        assert await version(queries, customer) == before

    async def test_change_when_a_product_goes_and_comes_back(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        customer, gone, stays = await stored_customer(uow), make.product(), make.product()
        await do(uow, lambda work: work.products.store([gone, stays], asked_at=NOW))
        seen = [(await version(queries, customer)).catalog]
        for number in range(1, 4):
            at = NOW + number * SECOND
            await do(
                uow,
                lambda work, at=at: work.products.note_complete_list([stays.id], asked_at=at),  # type: ignore[misc]  # bound now
            )
            seen.append((await version(queries, customer)).catalog)
        await do(uow, lambda work: work.products.store([gone], asked_at=NOW + MINUTE))
        seen.append((await version(queries, customer)).catalog)
        known, missing, removed, still, back = seen
        assert known == missing < removed == still < back


class TestChanges:
    async def test_are_the_list_at_first(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        kept, gone = (make.favorite(customer_id=customer.id) for _ in range(2))
        await add(favorite_writes, gone, kept)
        await remove(favorite_writes, gone)
        found = await changes()
        assert brief(found) == [(kept.product_id, ADDED)]
        assert found.items[0].item is not None
        assert found.items[0].item.favorite == kept
        assert not found.more
        again = await changes(found.seen)
        assert (brief(again), again.seen, again.more) == ([], found.seen, False)

    async def test_are_none_of_an_empty_list(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        found = await changes()
        assert (brief(found), found.more) == ([], False)
        favorite = make.favorite(customer_id=customer.id)
        await add(favorite_writes, favorite)
        assert brief(await changes(found.seen)) == [(favorite.product_id, ADDED)]

    async def test_tell_what_happened_once_and_in_order(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        one, two, waits, four = (
            make.favorite(customer_id=customer.id, when_favorited=snapshot)
            for snapshot in (make.snapshot(), make.snapshot(), None, make.snapshot())
        )
        await add(favorite_writes, one, two, waits)
        since = (await changes()).seen
        await remove(favorite_writes, one)
        await add(favorite_writes, four)
        await do(uow, lambda work: work.favorites.confirm(waits.product_id, make.snapshot()))
        await remove(favorite_writes, two)
        await restore(favorite_writes, two)
        found = await changes(since)
        assert brief(found) == [
            (one.product_id, REMOVED),
            (four.product_id, ADDED),
            (waits.product_id, CHANGED),
            (two.product_id, ADDED),
        ]
        assert found.items[2].item is not None
        assert found.items[2].item.status is not FavoriteStatus.REMOVED
        assert brief(await changes(found.seen)) == []

    async def test_come_in_pages(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        favorites = [make.favorite(customer_id=customer.id) for _ in range(5)]
        await add(favorite_writes, *favorites)
        since, seen, more = BEGINNING, [], True
        while more:
            page = await changes(since, limit=2)
            seen += brief(page)
            since, more = page.seen, page.more
        assert seen == [(favorite.product_id, ADDED) for favorite in favorites]
        for favorite in favorites[:3]:
            await remove(favorite_writes, favorite)
        first = await changes(since, limit=2)
        assert (len(first.items), first.more) == (2, True)
        rest = await changes(first.seen, limit=2)
        assert (len(rest.items), rest.more) == (1, False)

    async def test_while_the_list_is_read_are_told_after_it(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        one, two, three = (make.favorite(customer_id=customer.id) for _ in range(3))
        await add(favorite_writes, one, two, three)
        first = await changes(limit=2)
        await remove(favorite_writes, one, ago=MINUTE)
        rest = await changes(first.seen, limit=2)
        assert (brief(rest), rest.more) == ([(three.product_id, ADDED)], True)
        last = await changes(rest.seen, limit=2)
        assert (brief(last), last.more) == ([(one.product_id, REMOVED)], False)

    async def test_tell_that_a_product_came_or_went(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, other = await stored_customer(uow), await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        others_changes = History(queries, favorite_writes, other)
        product = make.product()
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        await add(
            favorite_writes,
            make.favorite(customer_id=customer.id, product_id=product.id),
            make.favorite(customer_id=customer.id),
            make.favorite(customer_id=other.id),
        )
        since = (await changes()).seen
        others = (await others_changes()).seen

        await note_absence(uow, product, times=1)
        assert brief(await changes(since)) == []
        await note_absence(uow, product)
        gone = await changes(since)
        await do(uow, lambda work: work.products.store([product], asked_at=NOW + HOUR))
        back = await changes(gone.seen)

        assert brief(gone) == brief(back) == [(product.id, CHANGED)]
        statuses = [change.item.status for f in (gone, back) for change in f.items if change.item]
        assert statuses == [FavoriteStatus.REMOVED, FavoriteStatus.AVAILABLE]
        assert brief(await changes(back.seen)) == []
        assert brief(await others_changes(others)) == []

    async def test_are_forgotten_with_the_removals(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        favorites = [make.favorite(customer_id=customer.id) for _ in range(3)]
        await add(favorite_writes, *favorites)
        long_ago = (await changes()).seen
        await remove(favorite_writes, favorites[0], ago=HOUR)
        recent = (await changes(long_ago)).seen
        await remove(favorite_writes, favorites[1], ago=MINUTE)

        # What it was, and then that it was; of the later one only what it was.
        assert await forget(uow, content=SECOND, all_=2 * MINUTE) == 3
        with pytest.raises(ChangesForgotten):
            await changes(long_ago)
        assert brief(await changes(recent)) == [(favorites[1].product_id, REMOVED)]
        assert brief(await changes()) == [(favorites[2].product_id, ADDED)]

    async def test_can_be_read_from_the_beginning_in_pages_whatever_is_forgotten(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        one, two, gone = (make.favorite(customer_id=customer.id) for _ in range(3))
        await add(favorite_writes, one, two, gone)
        await remove(favorite_writes, gone, ago=HOUR)
        assert await forget(uow, content=MINUTE, all_=MINUTE) == 2
        first = await changes(limit=1)
        rest = await changes(first.seen, limit=1)
        assert brief(first) + brief(rest) == [(one.product_id, ADDED), (two.product_id, ADDED)]
        assert brief(await changes(rest.seen)) == []

    async def test_are_unknown_of_a_version_that_never_was(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        """As after the database was put back to an older state."""
        customer = await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        with pytest.raises(ChangesForgotten):
            await changes(ChangePosition(version=5))

    async def test_go_with_the_customer(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        changes = History(queries, favorite_writes, customer)
        kept, gone = (make.favorite(customer_id=customer.id) for _ in range(2))
        await add(favorite_writes, kept, gone)
        await remove(favorite_writes, gone)
        assert await do(uow, lambda work: work.customers.remove(customer.id))
        with pytest.raises(CustomerNotFound):
            await changes()
        with pytest.raises(CustomerNotFound):
            await version(queries, customer)
        assert await restore(favorite_writes, gone) is RestoreOutcome.NO_CUSTOMER
        refused = await favorite_writes.add(kept, limits=LIMITS)
        assert refused.outcome is AddOutcome.NO_CUSTOMER

    async def test_of_the_catalog_leave_the_history_behind_until_they_are_entered(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        await add(favorite_writes, make.favorite(customer_id=customer.id, product_id=product.id))
        since = (await queries.list_changes(customer.id, since=BEGINNING, limit=10)).seen
        await note_absence(uow, product)
        before = await version(queries, customer)
        for _ in range(2):
            behind = await queries.list_changes(customer.id, since=since, limit=10)
            assert (brief(behind), behind.behind) == ([], True)
            assert await version(queries, customer) == before
        await favorite_writes.enter_catalog_changes(customer.id)
        entered = await queries.list_changes(customer.id, since=since, limit=10)
        assert (brief(entered), entered.behind) == ([(product.id, CHANGED)], False)

    async def test_of_other_products_leave_no_history_behind(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        await add(favorite_writes, make.favorite(customer_id=customer.id))
        await note_absence(uow, product)
        found = await queries.list_changes(customer.id, since=BEGINNING, limit=10)
        assert not found.behind

    async def test_show_the_current_state_of_favorites(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        await do(uow, lambda work: work.products.store([product], asked_at=NOW))
        await add(
            favorite_writes,
            make.favorite(customer_id=customer.id, product_id=product.id),
            make.favorite(customer_id=customer.id),
            make.favorite(customer_id=customer.id, when_favorited=None),
        )
        found = await queries.list_changes(customer.id, since=BEGINNING, limit=10)
        for change in found.items:
            one = await queries.find_favorite(customer.id, change.product_id)
            assert change.item == one.item
        assert [change.item.status for change in found.items if change.item] == [
            FavoriteStatus.AVAILABLE,
            FavoriteStatus.PENDING,
            FavoriteStatus.PENDING,
        ]

    async def test_of_many_customers_are_not_mixed_up(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customers = [await stored_customer(uow) for _ in range(6)]
        favorites = {
            customer.id: [make.favorite(customer_id=customer.id) for _ in range(number)]
            for number, customer in enumerate(customers)
        }
        for added in favorites.values():
            await add(favorite_writes, *added)
        for customer in customers[3:]:
            await remove(favorite_writes, favorites[customer.id][0])
        since = ChangePosition(version=1)
        asked = [
            (customer, position, limit)
            for customer in customers[1:]
            for position in (BEGINNING, since, ChangePosition(version=99))
            for limit in (1, 2, 100)
        ]

        async def ask(customer: Customer, position: ChangePosition, limit: int) -> Changes | str:
            try:
                return await queries.list_changes(customer.id, since=position, limit=limit)
            except ChangesForgotten:
                return "forgotten"

        alone = [await ask(*each) for each in asked]
        assert alone.count("forgotten") == len(asked) // 3
        assert await asyncio.gather(*(ask(*each) for each in asked)) == alone

    async def test_need_a_customer_and_a_valid_session(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        customer = await stored_customer(uow)
        favorite = make.favorite(customer_id=customer.id)
        await add(favorite_writes, favorite)
        session = await stored_session(sign_in_writes, customer)
        with pytest.raises(CustomerNotFound):
            await queries.list_changes(make.customer_id(), since=BEGINNING, limit=1)
        check = SessionCheck(session_id=session.id, at=NOW)
        found = await queries.list_changes(customer.id, since=BEGINNING, limit=1, session=check)
        assert brief(found) == [(favorite.product_id, ADDED)]
        for check in (
            SessionCheck(session_id=session.id, at=NOW + 1000 * DAY),
            SessionCheck(session_id=make.session().id, at=NOW),
        ):
            # Also of a position that is not remembered: that is not to be known.
            for since in (BEGINNING, ChangePosition(version=99)):
                with pytest.raises(InvalidToken):
                    await queries.list_changes(customer.id, since=since, limit=1, session=check)
