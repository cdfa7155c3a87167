"""The writes to lists of favorites: what they change, and every outcome."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.access import SessionCheck
from app.domain.favorite import Favorite, Snapshot
from app.domain.product import CachedProduct, Product, ProductId
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.session import SessionId
from app.domain.writes import (
    AddOutcome,
    AddResult,
    FavoriteLimits,
    FavoriteWrites,
    RemoveOutcome,
    RestoreOutcome,
    SignInWrites,
)
from tests import make
from tests.contract.favorites import (
    add,
    add_rejected,
    added,
    assert_counts_are_right,
    listed,
    popularity,
    present,
    removed,
    stored_customer,
    stored_session,
    version,
)
from tests.contract.step import do
from tests.make import HOUR, LIMITS, MINUTE, NOW, PLENTY, SECOND


def limits(*, total: int = PLENTY, pending: int = PLENTY) -> FavoriteLimits:
    return FavoriteLimits(total=total, pending=pending)


def refused(outcome: AddOutcome) -> AddResult:
    return AddResult(outcome=outcome)


def pending_favorite(**given: object) -> Favorite:
    return make.favorite(when_favorited=None, **given)  # type: ignore[arg-type]  # as they are there


async def seen_product(
    uow: UnitOfWorkFactory, queries: Queries, product: Product
) -> CachedProduct:
    """Store a product, and read it."""
    await do(uow, lambda work: work.products.store([product], asked_at=NOW))
    seen = await queries.find_product(product.id)
    assert isinstance(seen, CachedProduct)
    return seen


async def change_price(uow: UnitOfWorkFactory, product: Product) -> Product:
    dearer = replace(product, price=product.price * 2)
    await do(uow, lambda work: work.products.store([dearer], asked_at=NOW + MINUTE))
    return dearer


class TestAdd:
    @pytest.mark.parametrize("rating", [None, make.rating(), make.rating("0.0", 0)])
    async def test_stores_the_favorite_and_counts_it(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        rating: object,
    ) -> None:
        customer = await stored_customer(uow)
        product = make.product(title="Bracelete 💍", price="0.10", rating=rating)  # type: ignore[arg-type]  # as it is there
        favorite = make.favorite(
            customer_id=customer.id,
            product_id=product.id,
            favorited_at=NOW + timedelta(microseconds=1),
            when_favorited=Snapshot.of(product),
        )
        assert await favorite_writes.add(favorite, limits=LIMITS) == added(favorite)
        assert await listed(queries, customer.id) == [favorite]
        assert await version(queries, customer.id) == 1
        assert await popularity(uow, queries, product.id) == 1
        await assert_counts_are_right(uow)

    async def test_changes_nothing_if_the_favorite_is_there(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product(title="Anel 💍", rating=None)
        seen = await seen_product(uow, queries, product)
        waits = pending_favorite(customer_id=customer.id, product_id=product.id)
        confirmed = make.favorite(
            customer_id=customer.id,
            when_favorited=Snapshot.of(make.product(price="0.10", rating=make.rating("4.5", 7))),
        )
        await add(favorite_writes, waits, confirmed)
        for stored, given in ((waits, seen), (confirmed, None)):
            again = replace(stored, favorited_at=NOW + HOUR, when_favorited=Snapshot.of(product))
            # Also if the list is full.
            assert await favorite_writes.add(
                again, limits=limits(total=1, pending=0), seen=given
            ) == present(stored)
        assert {*await listed(queries, customer.id)} == {waits, confirmed}
        assert await version(queries, customer.id) == 2
        assert await popularity(uow, queries, confirmed.product_id) == 1

    async def test_belongs_to_one_customer(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        favorites = [make.favorite(customer_id=c.id, product_id=5) for c in (one, other)]
        await add(favorite_writes, *favorites)
        assert await favorite_writes.remove(one.id, ProductId(5), now=NOW) is RemoveOutcome.REMOVED
        assert await listed(queries, one.id) == []
        assert await listed(queries, other.id) == [favorites[1]]
        assert (await version(queries, one.id), await version(queries, other.id)) == (2, 1)

    async def test_replaces_a_favorite_that_the_catalog_rejected(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        rejected = await add_rejected(uow, favorite_writes, customer.id)
        assert await listed(queries, customer.id) == [rejected]
        again = replace(
            rejected, favorited_at=NOW + HOUR, when_favorited=make.snapshot(), rejected_at=None
        )
        # It takes no more room than before.
        full = limits(total=1)
        assert await favorite_writes.add(again, limits=full) == added(again)
        assert await favorite_writes.add(again, limits=full) == present(again)
        assert await listed(queries, customer.id) == [again]
        assert await version(queries, customer.id) == 3
        assert await popularity(uow, queries, again.product_id) == 1
        await assert_counts_are_right(uow)

    async def test_of_a_rejected_favorite_may_wait_for_the_catalog_again(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        rejected = await add_rejected(uow, favorite_writes, customer.id)
        again = replace(rejected, favorited_at=NOW + HOUR, rejected_at=None)
        assert await favorite_writes.add(again, limits=limits(total=1, pending=0)) == refused(
            AddOutcome.TOO_MANY_PENDING
        )
        assert await favorite_writes.add(again, limits=limits(total=1, pending=1)) == added(again)
        assert await listed(queries, customer.id) == [again]

    async def test_forgets_that_the_favorite_was_removed(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        favorite = make.favorite(customer_id=customer.id)
        await add(favorite_writes, favorite)
        await favorite_writes.remove(customer.id, favorite.product_id, now=NOW)
        assert len(await removed(queries, customer.id)) == 1
        await add(favorite_writes, favorite)
        assert await removed(queries, customer.id) == []
        assert await listed(queries, customer.id) == [favorite]

    async def test_of_several_favorites_at_once_makes_a_version_each(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customers = [await stored_customer(uow) for _ in range(5)]
        product_ids = [make.product_id() for _ in range(4)]
        # Each three times: the same favorite may be asked for side by side.
        favorites = [
            make.favorite(customer_id=customer.id, product_id=product_id)
            for _ in range(3)
            for product_id in product_ids
            for customer in customers
        ]
        results = await asyncio.gather(
            *(favorite_writes.add(favorite, limits=LIMITS) for favorite in favorites)
        )
        outcomes = [result.outcome for result in results]
        assert outcomes.count(AddOutcome.ADDED) == len(customers) * len(product_ids)
        assert outcomes.count(AddOutcome.PRESENT) == 2 * len(customers) * len(product_ids)
        assert [result.favorite for result in results] == favorites
        for customer in customers:
            assert len(await listed(queries, customer.id)) == len(product_ids)
            assert await version(queries, customer.id) == len(product_ids)
        for product_id in product_ids:
            assert await popularity(uow, queries, product_id) == len(customers)
        await assert_counts_are_right(uow)

    async def test_is_not_delayed_by_a_list_that_is_locked(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        busy, free = await stored_customer(uow), await stored_customer(uow)
        waits = pending_favorite(customer_id=busy.id)
        await add(favorite_writes, waits)
        async with uow() as work:
            # Locks the list until this unit ends.
            await work.favorites.reject(waits.product_id, now=NOW)
            late, early = [make.favorite(customer_id=c.id) for c in (busy, free)]
            first, second = [
                asyncio.create_task(favorite_writes.add(favorite, limits=LIMITS))
                for favorite in (late, early)
            ]
            assert await second == added(early)
            assert not first.done()
            await work.commit()
        assert await first == added(late)
        assert await version(queries, busy.id) == 3


class TestOutcomesOfAdd:
    async def test_no_customer(self, queries: Queries, favorite_writes: FavoriteWrites) -> None:
        for favorite in (make.favorite(), pending_favorite()):
            assert await favorite_writes.add(favorite, limits=LIMITS) == refused(
                AddOutcome.NO_CUSTOMER
            )
            assert await listed(queries, favorite.customer_id) == []

    async def test_session_ended(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        (ana, bia), product_id = [await stored_customer(uow) for _ in range(2)], make.product_id()
        session = await stored_session(sign_in_writes, ana)
        end = min(session.idle_expires_at, session.expires_at)
        for customer, session_id, at, valid in (
            (ana, SessionId(make.uuid()), NOW, False),
            (bia, session.id, NOW, False),
            (ana, session.id, end, False),
            (ana, session.id, end - MINUTE, True),
        ):
            favorite = make.favorite(customer_id=customer.id, product_id=product_id)
            check = SessionCheck(session_id=session_id, at=at)
            result = await favorite_writes.add(favorite, limits=LIMITS, session=check)
            assert result == (added(favorite) if valid else refused(AddOutcome.SESSION_ENDED))
            assert (favorite in await listed(queries, customer.id)) is valid
        await do(uow, lambda work: work.sessions.end_all(ana.id, now=NOW))
        check = SessionCheck(session_id=session.id, at=NOW)
        new = make.favorite(customer_id=ana.id)
        for asked in (favorite, new):
            assert await favorite_writes.add(asked, limits=LIMITS, session=check) == refused(
                AddOutcome.SESSION_ENDED
            )
        assert await favorite_writes.add(new, limits=LIMITS) == added(new)

    async def test_product_changed(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product(price="10.00")
        assert queries.last_seen_product(product.id) is None
        seen = await seen_product(uow, queries, product)
        assert queries.last_seen_product(product.id) == seen
        dearer = await change_price(uow, product)
        old = make.favorite(
            customer_id=customer.id, product_id=product.id, when_favorited=Snapshot.of(product)
        )
        assert await favorite_writes.add(old, limits=LIMITS, seen=seen) == refused(
            AddOutcome.PRODUCT_CHANGED
        )
        assert await listed(queries, customer.id) == []
        newer = await queries.find_product(product.id)
        assert isinstance(newer, CachedProduct)
        favorite = replace(old, when_favorited=Snapshot.of(dearer))
        assert await favorite_writes.add(favorite, limits=LIMITS, seen=newer) == added(favorite)
        assert await listed(queries, customer.id) == [favorite]

    async def test_product_changed_by_an_absence(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        seen = await seen_product(uow, queries, product)
        await do(
            uow,
            lambda work: work.products.note_absence(
                product.id, asked_at=NOW + MINUTE, until=NOW + HOUR
            ),
        )
        favorite = make.favorite(customer_id=customer.id, product_id=product.id)
        assert await favorite_writes.add(favorite, limits=LIMITS, seen=seen) == refused(
            AddOutcome.PRODUCT_CHANGED
        )

    async def test_product_changed_for_a_copy_that_was_never_stored(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites
    ) -> None:
        customer, seen = await stored_customer(uow), make.cached_product()
        favorite = make.favorite(customer_id=customer.id, product_id=seen.product.id)
        assert await favorite_writes.add(favorite, limits=LIMITS, seen=seen) == refused(
            AddOutcome.PRODUCT_CHANGED
        )

    async def test_full(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, other = await stored_customer(uow), await stored_customer(uow)
        two = limits(total=2)
        for _ in range(2):
            favorite = make.favorite(customer_id=customer.id)
            assert await favorite_writes.add(favorite, limits=two) == added(favorite)
        for favorite in (
            make.favorite(customer_id=customer.id),
            pending_favorite(customer_id=customer.id),
        ):
            assert await favorite_writes.add(favorite, limits=two) == refused(AddOutcome.FULL)
        assert len(await listed(queries, customer.id)) == 2
        assert await version(queries, customer.id) == 2
        theirs = make.favorite(customer_id=other.id)
        assert await favorite_writes.add(theirs, limits=two) == added(theirs)

    async def test_full_side_by_side(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        results = await asyncio.gather(
            *(
                favorite_writes.add(make.favorite(customer_id=customer.id), limits=limits(total=7))
                for _ in range(20)
            )
        )
        outcomes = [result.outcome for result in results]
        assert outcomes.count(AddOutcome.ADDED) == 7
        assert outcomes.count(AddOutcome.FULL) == 13
        assert len(await listed(queries, customer.id)) == 7
        assert await version(queries, customer.id) == 7
        await assert_counts_are_right(uow)

    async def test_too_many_pending(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        await add_rejected(uow, favorite_writes, one.id)
        confirmed = make.favorite(customer_id=one.id)
        waiting = [pending_favorite(customer_id=one.id) for _ in range(2)]
        for favorite in (confirmed, *waiting):
            assert await favorite_writes.add(favorite, limits=limits(pending=2)) == added(favorite)
        refusal = refused(AddOutcome.TOO_MANY_PENDING)
        more = pending_favorite(customer_id=one.id)
        assert await favorite_writes.add(more, limits=limits(pending=2)) == refusal
        # Of another customer, or of a product that the catalog lists, is another matter.
        for favorite in (
            pending_favorite(customer_id=other.id),
            replace(more, when_favorited=make.snapshot()),
        ):
            assert await favorite_writes.add(favorite, limits=limits(pending=2)) == added(favorite)
        await do(uow, lambda w: w.favorites.confirm(waiting[0].product_id, make.snapshot()))
        last = pending_favorite(customer_id=one.id)
        assert await favorite_writes.add(last, limits=limits(pending=2)) == added(last)
        assert len(await listed(queries, one.id)) == 6

    async def test_too_many_pending_side_by_side(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        results = await asyncio.gather(
            *(
                favorite_writes.add(
                    pending_favorite(customer_id=customer.id), limits=limits(pending=2)
                )
                for _ in range(8)
            )
        )
        outcomes = [result.outcome for result in results]
        assert outcomes.count(AddOutcome.ADDED) == 2
        assert outcomes.count(AddOutcome.TOO_MANY_PENDING) == 6
        assert len(await listed(queries, customer.id)) == 2

    async def test_the_first_that_applies(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        session = await stored_session(sign_in_writes, customer)
        ended = SessionCheck(session_id=session.id, at=session.expires_at)
        active = SessionCheck(session_id=session.id, at=NOW)
        seen = await seen_product(uow, queries, product)
        await change_price(uow, product)
        stored = make.favorite(customer_id=customer.id)
        changed_and_stored = make.favorite(customer_id=customer.id, product_id=product.id)
        await add(favorite_writes, stored)
        nothing = limits(total=0, pending=0)

        async def outcome(favorite: Favorite, **given: object) -> AddOutcome:
            result = await favorite_writes.add(favorite, limits=nothing, **given)  # type: ignore[arg-type]  # as they are there
            return result.outcome

        unknown = make.favorite(product_id=product.id, when_favorited=None)
        assert await outcome(unknown, seen=seen, session=ended) is AddOutcome.SESSION_ENDED
        assert await outcome(stored, session=ended) is AddOutcome.SESSION_ENDED
        assert await outcome(unknown, seen=seen) is AddOutcome.NO_CUSTOMER
        new = pending_favorite(customer_id=customer.id, product_id=product.id)
        assert await outcome(new, seen=seen, session=active) is AddOutcome.PRODUCT_CHANGED
        assert await outcome(new, session=active) is AddOutcome.FULL
        assert await favorite_writes.add(new, limits=limits(pending=0)) == refused(
            AddOutcome.TOO_MANY_PENDING
        )
        await add(favorite_writes, changed_and_stored)
        assert await outcome(new, seen=seen, session=active) is AddOutcome.PRESENT


class TestRemove:
    async def test_removes_the_favorite_once(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        favorite, kept = [make.favorite(customer_id=customer.id) for _ in range(2)]
        await add(favorite_writes, favorite, kept)
        key = (customer.id, favorite.product_id)
        assert await favorite_writes.remove(*key, now=NOW) is RemoveOutcome.REMOVED
        assert await favorite_writes.remove(*key, now=NOW + HOUR) is RemoveOutcome.ABSENT
        assert await listed(queries, customer.id) == [kept]
        assert [(r.product_id, r.removed_at) for r in await removed(queries, customer.id)] == [
            (favorite.product_id, NOW)
        ]
        assert await version(queries, customer.id) == 3
        assert await popularity(uow, queries, favorite.product_id) == 0
        assert await popularity(uow, queries, kept.product_id) == 1
        await assert_counts_are_right(uow)
        await add(favorite_writes, favorite)

    async def test_makes_room(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        first, second = [make.favorite(customer_id=customer.id) for _ in range(2)]
        await add(favorite_writes, first)
        assert await favorite_writes.add(second, limits=limits(total=1)) == refused(
            AddOutcome.FULL
        )
        await favorite_writes.remove(customer.id, first.product_id, now=NOW)
        assert await favorite_writes.add(second, limits=limits(total=1)) == added(second)

    async def test_needs_a_customer_and_a_valid_session(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        ana, bia = [await stored_customer(uow) for _ in range(2)]
        session = await stored_session(sign_in_writes, ana)
        favorite = make.favorite(customer_id=ana.id)
        await add(favorite_writes, favorite)
        for customer_id, session_id, at, expected in (
            (ana.id, SessionId(make.uuid()), NOW, RemoveOutcome.SESSION_ENDED),
            (bia.id, session.id, NOW, RemoveOutcome.SESSION_ENDED),
            (ana.id, session.id, session.idle_expires_at, RemoveOutcome.SESSION_ENDED),
            (make.customer_id(), session.id, NOW, RemoveOutcome.SESSION_ENDED),
            (make.customer_id(), None, NOW, RemoveOutcome.NO_CUSTOMER),
            (bia.id, None, NOW, RemoveOutcome.ABSENT),
            (ana.id, session.id, NOW, RemoveOutcome.REMOVED),
            (ana.id, session.id, NOW, RemoveOutcome.ABSENT),
        ):
            before = await listed(queries, ana.id)
            check = None if session_id is None else SessionCheck(session_id=session_id, at=at)
            assert (
                await favorite_writes.remove(
                    customer_id, favorite.product_id, now=NOW, session=check
                )
                is expected
            )
            gone = [] if expected is RemoveOutcome.REMOVED else before
            assert await listed(queries, ana.id) == gone

    async def test_side_by_side_removes_each_once(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customers = [await stored_customer(uow) for _ in range(4)]
        product_ids = [make.product_id() for _ in range(3)]
        keys = [(c.id, product_id) for c in customers for product_id in product_ids]
        for customer_id, product_id in keys:
            await add(
                favorite_writes, make.favorite(customer_id=customer_id, product_id=product_id)
            )
        outcomes = await asyncio.gather(
            *(favorite_writes.remove(*key, now=NOW) for key in keys for _ in range(3))
        )
        assert outcomes.count(RemoveOutcome.REMOVED) == len(keys)
        assert outcomes.count(RemoveOutcome.ABSENT) == 2 * len(keys)
        for customer in customers:
            assert await listed(queries, customer.id) == []
            assert await version(queries, customer.id) == 2 * len(product_ids)
        await assert_counts_are_right(uow)

    async def test_waits_for_a_list_that_is_locked(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        busy, free = await stored_customer(uow), await stored_customer(uow)
        waits, theirs = [pending_favorite(customer_id=c.id) for c in (busy, free)]
        await add(favorite_writes, waits, theirs)
        async with uow() as work:
            await work.favorites.reject(waits.product_id, now=NOW)
            first, second = [
                asyncio.create_task(favorite_writes.remove(f.customer_id, f.product_id, now=NOW))
                for f in (waits, theirs)
            ]
            assert await second is RemoveOutcome.REMOVED
            assert not first.done()
            await work.commit()
        assert await first is RemoveOutcome.REMOVED
        assert await version(queries, busy.id) == 3


class TestRestore:
    async def restore(
        self,
        writes: FavoriteWrites,
        favorite: Favorite,
        *,
        window: timedelta = HOUR,
        total: int = PLENTY,
    ) -> RestoreOutcome:
        return await writes.restore(
            favorite.customer_id,
            favorite.product_id,
            removed_since=NOW - window,
            limits=limits(total=total, pending=0),
        )

    @pytest.mark.parametrize("state", ["confirmed", "pending", "rejected"])
    async def test_brings_the_favorite_back_as_it_was(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        state: str,
    ) -> None:
        customer = await stored_customer(uow)
        if state == "rejected":
            favorite = await add_rejected(uow, favorite_writes, customer.id)
        else:
            favorite = make.favorite(
                customer_id=customer.id,
                favorited_at=NOW - 5 * HOUR,
                when_favorited=make.snapshot() if state == "confirmed" else None,
            )
            await add(favorite_writes, favorite)
        before = await version(queries, customer.id)
        await favorite_writes.remove(customer.id, favorite.product_id, now=NOW)
        assert await self.restore(favorite_writes, favorite) is RestoreOutcome.RESTORED
        assert await self.restore(favorite_writes, favorite) is RestoreOutcome.PRESENT
        assert await listed(queries, customer.id) == [favorite]
        assert await removed(queries, customer.id) == []
        assert await version(queries, customer.id) == before + 2
        assert await popularity(uow, queries, favorite.product_id) == 1
        await assert_counts_are_right(uow)

    async def test_is_not_possible_without_a_removal_in_the_window(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, other = await stored_customer(uow), await stored_customer(uow)
        favorite = make.favorite(customer_id=customer.id)
        not_restorable = RestoreOutcome.NOT_RESTORABLE
        assert await self.restore(favorite_writes, favorite) is not_restorable
        await add(favorite_writes, favorite)
        await favorite_writes.remove(customer.id, favorite.product_id, now=NOW - MINUTE)
        theirs = replace(favorite, customer_id=other.id)
        assert await self.restore(favorite_writes, theirs) is not_restorable
        without_owner = make.favorite(product_id=favorite.product_id)
        assert await self.restore(favorite_writes, without_owner) is RestoreOutcome.NO_CUSTOMER
        late = MINUTE - SECOND
        assert await self.restore(favorite_writes, favorite, window=late) is not_restorable
        # Also if the list is full: that tells nothing about the favorite.
        full = await self.restore(favorite_writes, favorite, window=late, total=0)
        assert full is not_restorable
        assert await self.restore(favorite_writes, favorite, total=0) is RestoreOutcome.FULL
        assert await listed(queries, customer.id) == []
        assert (
            await self.restore(favorite_writes, favorite, window=MINUTE) is RestoreOutcome.RESTORED
        )

    async def test_is_not_possible_once_the_content_is_forgotten(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        favorite = make.favorite(customer_id=customer.id)
        await add(favorite_writes, favorite)
        await favorite_writes.remove(customer.id, favorite.product_id, now=NOW - MINUTE)
        assert (
            await do(
                uow,
                lambda work: work.favorites.forget_removed(
                    restorable_since=NOW - SECOND, since=NOW - HOUR
                ),
            )
            == 1
        )
        assert await self.restore(favorite_writes, favorite) is RestoreOutcome.NOT_RESTORABLE

    async def test_leaves_a_favorite_that_was_added_again(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        old = make.favorite(customer_id=customer.id, product_id=5)
        new = replace(old, favorited_at=NOW + HOUR)
        await add(favorite_writes, old)
        await favorite_writes.remove(customer.id, old.product_id, now=NOW)
        await add(favorite_writes, new)
        assert await self.restore(favorite_writes, old) is RestoreOutcome.PRESENT
        assert await listed(queries, customer.id) == [new]


class TestEnterCatalogChanges:
    async def test_makes_one_version_of_all_changes(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        products = [make.product() for _ in range(3)]
        await do(uow, lambda work: work.products.store(products, asked_at=NOW))
        await add(
            favorite_writes,
            *(make.favorite(customer_id=customer.id, product_id=p.id) for p in products),
        )
        await favorite_writes.enter_catalog_changes(customer.id)
        assert await version(queries, customer.id) == 3
        for number in (1, 2):
            at = NOW + number * SECOND
            await do(
                uow,
                lambda work, at=at: work.products.note_complete_list(  # type: ignore[misc]  # bound now
                    [products[0].id], asked_at=at
                ),
            )
        for _ in range(2):  # the second time there is nothing to enter
            await favorite_writes.enter_catalog_changes(customer.id)
            assert await version(queries, customer.id) == 4

    async def test_of_a_customer_without_favorites_is_nothing(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        for customer_id in (customer.id, make.customer_id()):
            await favorite_writes.enter_catalog_changes(customer_id)
        assert await version(queries, customer.id) == 0
