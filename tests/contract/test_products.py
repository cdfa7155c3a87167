from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.customer import fold
from app.domain.page import Page, Position
from app.domain.product import (
    MAX_PRODUCT_ID,
    CachedProduct,
    CatalogState,
    PricePoint,
    Product,
    ProductId,
    ProductQuery,
    ProductSort,
    Rating,
    UnknownProduct,
)
from app.domain.repository import UnitOfWorkFactory
from tests import make
from tests.contract.step import do, on_storage, see, side_by_side, walk
from tests.make import DAY, HOUR, MINUTE, NOW, PLENTY, SECOND

TICK = timedelta(microseconds=1)


async def store(uow: UnitOfWorkFactory, *products: Product, asked_at: datetime = NOW) -> None:
    await do(uow, lambda work: work.products.store(products, asked_at=asked_at))


async def absent(
    uow: UnitOfWorkFactory,
    product_id: ProductId,
    *,
    asked_at: datetime,
    until: datetime = NOW + DAY,
) -> None:
    await do(
        uow, lambda work: work.products.note_absence(product_id, asked_at=asked_at, until=until)
    )


async def removed(uow: UnitOfWorkFactory, product_id: ProductId) -> None:
    await absent(uow, product_id, asked_at=NOW + SECOND)
    await absent(uow, product_id, asked_at=NOW + 2 * SECOND)


async def claim(
    uow: UnitOfWorkFactory,
    *product_ids: ProductId,
    now: datetime = NOW,
    until: datetime = NOW + MINUTE,
) -> frozenset[ProductId]:
    return await do(uow, lambda work: work.products.claim(product_ids, now=now, until=until))


async def block(uow: UnitOfWorkFactory, *product_ids: ProductId, until: datetime) -> None:
    await do(uow, lambda work: work.products.block(product_ids, until=until))


async def copy(uow: UnitOfWorkFactory, product_id: ProductId) -> CachedProduct:
    found = await see(uow, lambda work: work.products.get(product_id))
    assert isinstance(found, CachedProduct)
    return found


async def unknown(uow: UnitOfWorkFactory, product_id: ProductId) -> UnknownProduct:
    found = await see(uow, lambda work: work.products.get(product_id))
    assert isinstance(found, UnknownProduct)
    return found


class TestProducts:
    @pytest.mark.parametrize("rating", [None, make.rating("0.0", 0), make.rating("3.99", 120)])
    @pytest.mark.parametrize("price", ["0.00", "0.01", "109.95", "99999999.99"])
    async def test_are_returned_as_they_were_stored(
        self, uow: UnitOfWorkFactory, rating: Rating | None, price: str
    ) -> None:
        product = make.product(
            id=MAX_PRODUCT_ID,
            title="Camisa «Açaí» 👕",
            price=price,
            description="x" * 10_000,
            category="men's clothing",
            image="",
            rating=rating,
        )
        await store(uow, product, asked_at=NOW + TICK)
        found = await copy(uow, product.id)
        assert found == CachedProduct(product=product, fetched_at=NOW + TICK)
        assert str(found.product.price) == price

    async def test_are_none_if_nothing_is_known(self, uow: UnitOfWorkFactory) -> None:
        async with uow() as work:
            assert await work.products.get(make.product_id()) is None
            assert await work.products.price_history(make.product_id()) == []

    async def test_are_returned_together(self, uow: UnitOfWorkFactory) -> None:
        known, missing, nothing = make.product(), make.product_id(), make.product_id()
        await store(uow, known)
        await absent(uow, missing, asked_at=NOW)
        async with uow() as work:
            found = await work.products.get_many([missing, nothing, known.id, known.id])
            assert found == {
                known.id: await work.products.get(known.id),
                missing: await work.products.get(missing),
            }
            assert await work.products.get_many([]) == {}


class TestStoringProducts:
    async def test_replaces_an_older_copy(self, uow: UnitOfWorkFactory) -> None:
        old = make.product(rating=make.rating())
        new = make.product(
            id=old.id,
            title="New",
            price="1.00",
            description="New",
            category="new",
            image="https://catalog.test/new.jpg",
            rating=None,
        )
        await store(uow, old)
        await store(uow, new, asked_at=NOW + TICK)
        assert await copy(uow, old.id) == CachedProduct(product=new, fetched_at=NOW + TICK)

    async def test_leaves_a_newer_copy_as_it_is(self, uow: UnitOfWorkFactory) -> None:
        new = make.product(price="2.00")
        await store(uow, new, asked_at=NOW + TICK)
        before = await copy(uow, new.id)
        await store(uow, replace(new, title="Old", price=Decimal("1.00")), asked_at=NOW)
        assert await copy(uow, new.id) == before
        assert await see(uow, lambda w: w.products.price_history(new.id)) == [
            PricePoint(price=Decimal("2.00"), seen_at=NOW + TICK)
        ]

    async def test_decides_for_each_copy_alone(self, uow: UnitOfWorkFactory) -> None:
        ahead, behind, new = (make.product(title="Before") for _ in range(3))
        await store(uow, ahead, asked_at=NOW + HOUR)
        await store(uow, behind, asked_at=NOW - HOUR)
        await store(uow, *(replace(p, title="After") for p in (ahead, behind, new)))
        titles = [(await copy(uow, p.id)).product.title for p in (ahead, behind, new)]
        assert titles == ["Before", "After", "After"]

    async def test_does_nothing_without_products(self, uow: UnitOfWorkFactory) -> None:
        await store(uow)

    async def test_counts_the_last_of_two_copies(self, uow: UnitOfWorkFactory) -> None:
        first = make.product(price="1.00")
        last = replace(first, price=Decimal("2.00"))
        await store(uow, first, last)
        assert (await copy(uow, first.id)).product == last
        assert await see(uow, lambda w: w.products.price_history(first.id)) == [
            PricePoint(price=Decimal("2.00"), seen_at=NOW)
        ]

    async def test_gives_the_right_to_ask_back(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product()
        await store(uow, known)
        await claim(uow, known.id, new.id)
        await store(uow, known, new, asked_at=NOW + SECOND)
        for product in (known, new):
            assert (await copy(uow, product.id)).refresh.claimable(NOW)
        assert await claim(uow, known.id, new.id) == {known.id, new.id}

    async def test_makes_a_missing_product_be_there_again(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + SECOND)
        await store(uow, product, asked_at=NOW + MINUTE)
        assert await copy(uow, product.id) == CachedProduct(
            product=product, fetched_at=NOW + MINUTE
        )

    async def test_makes_a_removed_product_be_there_again(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await store(uow, product)
        await removed(uow, product.id)
        await store(uow, product, asked_at=NOW + MINUTE)
        assert await copy(uow, product.id) == CachedProduct(
            product=product, fetched_at=NOW + MINUTE
        )

    async def test_does_not_undo_an_absence_heard_of_later(self, uow: UnitOfWorkFactory) -> None:
        missing, gone = make.product(), make.product()
        await store(uow, missing, gone)
        await absent(uow, missing.id, asked_at=NOW + HOUR)
        await absent(uow, gone.id, asked_at=NOW + HOUR)
        await absent(uow, gone.id, asked_at=NOW + 2 * HOUR)
        await store(uow, missing, gone, asked_at=NOW + MINUTE)
        assert (await copy(uow, missing.id)).missing_since == NOW + HOUR
        assert (await copy(uow, gone.id)).removed_at == NOW + 2 * HOUR

    async def test_makes_an_absent_product_known(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await absent(uow, product.id, asked_at=NOW, until=NOW + DAY)
        await store(uow, product, asked_at=NOW + MINUTE)
        assert await copy(uow, product.id) == CachedProduct(
            product=product, fetched_at=NOW + MINUTE
        )

    async def test_ends_with_the_newest_answer_side_by_side(self, uow: UnitOfWorkFactory) -> None:
        product = make.product(price="0.00")
        prices = iter([3, 1, 5, 2, 4])

        def answer(price: int) -> Product:
            return replace(product, price=Decimal(f"{price}.00"))

        async def store_next(work: Any) -> None:
            price = next(prices)
            await work.products.store([answer(price)], asked_at=NOW + price * SECOND)

        assert await side_by_side(5, uow, store_next) == [None] * 5
        assert await copy(uow, product.id) == CachedProduct(
            product=answer(5), fetched_at=NOW + 5 * SECOND
        )

    @given(
        answers=st.lists(
            st.tuples(st.integers(0, 9), st.sampled_from(["1.00", "1.50"])),
            unique_by=lambda answer: answer[0],
            max_size=8,
        )
    )
    @on_storage
    async def test_is_monotonic_and_keeps_only_changes_of_the_price(
        self, uow: UnitOfWorkFactory, answers: list[tuple[int, str]]
    ) -> None:
        product = make.product()
        kept: list[PricePoint] = []
        newest = -1
        for second, price in answers:
            asked_at = NOW + second * SECOND
            await store(uow, replace(product, price=Decimal(price)), asked_at=asked_at)
            if second < newest:
                continue
            newest = second
            if not kept or kept[-1].price != Decimal(price):
                kept.append(PricePoint(price=Decimal(price), seen_at=asked_at))
            assert (await copy(uow, product.id)).fetched_at == asked_at
        assert await see(uow, lambda w: w.products.price_history(product.id)) == kept


class TestPriceHistory:
    async def test_holds_only_changes_oldest_first(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        for hour, price in enumerate(["5.00", "5.00", "4.99", "4.99", "5.00"]):
            await store(uow, replace(product, price=Decimal(price)), asked_at=NOW + hour * HOUR)
        assert await see(uow, lambda w: w.products.price_history(product.id)) == [
            PricePoint(price=Decimal("5.00"), seen_at=NOW),
            PricePoint(price=Decimal("4.99"), seen_at=NOW + 2 * HOUR),
            PricePoint(price=Decimal("5.00"), seen_at=NOW + 4 * HOUR),
        ]

    async def test_ignores_changes_of_anything_else(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await store(uow, product)
        await store(uow, replace(product, title="New", rating=None), asked_at=NOW + HOUR)
        assert len(await see(uow, lambda w: w.products.price_history(product.id))) == 1

    async def test_survives_the_removal_of_a_product(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await store(uow, product)
        await removed(uow, product.id)
        await store(uow, product, asked_at=NOW + HOUR)
        assert await see(uow, lambda w: w.products.price_history(product.id)) == [
            PricePoint(price=product.price, seen_at=NOW)
        ]

    async def test_is_of_one_product(self, uow: UnitOfWorkFactory) -> None:
        one, other = make.product(price="1.00"), make.product(price="2.00")
        await store(uow, one, other)
        assert await see(uow, lambda w: w.products.price_history(one.id)) == [
            PricePoint(price=Decimal("1.00"), seen_at=NOW)
        ]


class TestTheRightToAsk:
    async def test_is_taken_once(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        assert await claim(uow, known.id, new, new) == {known.id, new}
        assert await claim(uow, known.id, new) == frozenset()
        assert await claim(uow) == frozenset()

    async def test_is_taken_once_side_by_side(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        both = [known.id, new]
        results = await side_by_side(
            5, uow, lambda work: work.products.claim(both, now=NOW, until=NOW + MINUTE)
        )
        assert sorted(results, key=str) == [frozenset()] * 4 + [frozenset(both)]

    async def test_is_returned_only_for_what_was_free(self, uow: UnitOfWorkFactory) -> None:
        taken, free = make.product_id(), make.product_id()
        await claim(uow, taken)
        assert await claim(uow, taken, free) == {free}

    async def test_can_be_seen(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await claim(uow, known.id, new, until=NOW + MINUTE)
        for refresh in ((await copy(uow, known.id)).refresh, (await unknown(uow, new)).refresh):
            assert refresh.claimed_until == NOW + MINUTE
            assert refresh.in_progress(NOW + MINUTE - TICK)

    async def test_ends_with_the_lease(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await claim(uow, known.id, new, until=NOW + MINUTE)
        just_before = NOW + MINUTE - TICK
        later = NOW + HOUR
        assert await claim(uow, known.id, new, now=just_before, until=later) == frozenset()
        assert await claim(uow, known.id, new, now=NOW + MINUTE, until=later) == {known.id, new}

    async def test_changes_nothing_else(self, uow: UnitOfWorkFactory) -> None:
        product, missing = make.product(), make.product_id()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + SECOND)
        await absent(uow, missing, asked_at=NOW, until=NOW + HOUR)
        copy_before = await copy(uow, product.id)
        await claim(uow, product.id, missing)
        copy_after = await copy(uow, product.id)
        assert replace(copy_after, refresh=copy_before.refresh) == copy_before
        assert (await unknown(uow, missing)).absent_until == NOW + HOUR

    async def test_leaves_an_id_without_a_copy_unknown(self, uow: UnitOfWorkFactory) -> None:
        new = make.product_id()
        await claim(uow, new)
        assert (await unknown(uow, new)).absent_until is None

    async def test_is_refused_while_blocked(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        both = (known.id, new)
        await claim(uow, *both, until=NOW + HOUR)
        await block(uow, *both, until=NOW + MINUTE)
        for refresh in ((await copy(uow, known.id)).refresh, (await unknown(uow, new)).refresh):
            assert not refresh.in_progress(NOW)
            assert refresh.blocked_until == NOW + MINUTE
        assert await claim(uow, *both, now=NOW + MINUTE - TICK) == frozenset()
        # The lease would have lasted longer: it was given back.
        assert await claim(uow, *both, now=NOW + MINUTE, until=NOW + DAY) == set(both)

    async def test_can_be_blocked_without_having_been_taken(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await block(uow, known.id, new, until=NOW + MINUTE)
        assert await claim(uow, known.id, new) == frozenset()

    async def test_stays_blocked_for_the_longest_of_several(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await block(uow, known.id, new, until=NOW + HOUR)
        await block(uow, known.id, new, new, until=NOW + MINUTE)
        assert await claim(uow, known.id, new, now=NOW + MINUTE) == frozenset()

    async def test_is_free_again_after_a_success(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await store(uow, product)
        await block(uow, product.id, until=NOW + SECOND)
        await claim(uow, product.id, now=NOW + SECOND)
        await store(uow, product, asked_at=NOW + SECOND)
        assert await claim(uow, product.id, now=NOW + SECOND) == {product.id}


class TestAbsence:
    async def test_of_an_unknown_product_is_remembered(self, uow: UnitOfWorkFactory) -> None:
        product_id = make.product_id()
        await absent(uow, product_id, asked_at=NOW, until=NOW + MINUTE)
        found = await unknown(uow, product_id)
        assert found.absent_until == NOW + MINUTE
        assert found.absent(NOW + MINUTE - TICK)
        assert not found.absent(NOW + MINUTE)

    async def test_of_an_unknown_product_is_believed_for_longer_when_heard_again(
        self, uow: UnitOfWorkFactory
    ) -> None:
        product_id = make.product_id()
        await absent(uow, product_id, asked_at=NOW + MINUTE, until=NOW + 2 * MINUTE)
        await absent(uow, product_id, asked_at=NOW, until=NOW + MINUTE)
        assert (await unknown(uow, product_id)).absent_until == NOW + 2 * MINUTE

    async def test_gives_the_right_to_ask_back(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await claim(uow, known.id, new)
        await absent(uow, known.id, asked_at=NOW + SECOND)
        await absent(uow, new, asked_at=NOW + SECOND)
        assert await claim(uow, known.id, new) == {known.id, new}

    async def test_makes_a_known_product_missing_at_first(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + SECOND)
        assert await copy(uow, product.id) == CachedProduct(
            product=product, fetched_at=NOW, missing_since=NOW + SECOND
        )

    async def test_removes_a_known_product_when_heard_again(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + SECOND)
        await absent(uow, product.id, asked_at=NOW + MINUTE)
        expected = CachedProduct(
            product=product,
            fetched_at=NOW,
            missing_since=NOW + SECOND,
            removed_at=NOW + MINUTE,
        )
        assert await copy(uow, product.id) == expected
        await absent(uow, product.id, asked_at=NOW + HOUR)
        assert await copy(uow, product.id) == expected

    @pytest.mark.parametrize("asked_at", [NOW + MINUTE, NOW + SECOND])
    async def test_removes_only_by_an_answer_to_a_later_question(
        self, uow: UnitOfWorkFactory, asked_at: datetime
    ) -> None:
        product = make.product()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + MINUTE)
        await absent(uow, product.id, asked_at=asked_at)
        found = await copy(uow, product.id)
        assert (found.missing_since, found.removed) == (NOW + MINUTE, False)

    async def test_leaves_a_newer_copy_as_it_is(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await store(uow, product, asked_at=NOW + HOUR)
        await removed(uow, product.id)
        assert await copy(uow, product.id) == CachedProduct(product=product, fetched_at=NOW + HOUR)

    async def test_needs_two_answers_anew_after_the_product_was_there(
        self, uow: UnitOfWorkFactory
    ) -> None:
        product = make.product()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + SECOND)
        await store(uow, product, asked_at=NOW + MINUTE)
        await absent(uow, product.id, asked_at=NOW + HOUR)
        found = await copy(uow, product.id)
        assert (found.missing_since, found.removed) == (NOW + HOUR, False)


class TestCompleteList:
    async def test_removes_what_was_missing_before(self, uow: UnitOfWorkFactory) -> None:
        listed, missing, unsuspected = make.product(), make.product(), make.product()
        await store(uow, listed, missing, unsuspected)
        await absent(uow, missing.id, asked_at=NOW + SECOND)
        asked_at = NOW + MINUTE
        gone = await do(
            uow, lambda work: work.products.note_complete_list([listed.id], asked_at=asked_at)
        )
        assert gone == {missing.id}
        assert await copy(uow, listed.id) == CachedProduct(product=listed, fetched_at=NOW)
        assert (await copy(uow, missing.id)).missing_since == NOW + SECOND
        assert (await copy(uow, missing.id)).removed_at == asked_at
        assert await copy(uow, unsuspected.id) == CachedProduct(
            product=unsuspected, fetched_at=NOW, missing_since=asked_at
        )

    async def test_removes_by_two_lists(self, uow: UnitOfWorkFactory) -> None:
        listed, dropped = make.product(), make.product()
        await store(uow, listed, dropped)

        async def note(asked_at: datetime) -> frozenset[ProductId]:
            return await do(
                uow, lambda work: work.products.note_complete_list([listed.id], asked_at=asked_at)
            )

        assert await note(NOW + MINUTE) == frozenset()
        assert await note(NOW + MINUTE) == frozenset()
        assert await note(NOW + HOUR) == {dropped.id}
        assert await note(NOW + DAY) == frozenset()
        assert (await copy(uow, dropped.id)).removed_at == NOW + HOUR

    async def test_removes_with_an_answer_for_the_product_alone(
        self, uow: UnitOfWorkFactory
    ) -> None:
        listed, dropped = make.product(), make.product()
        await store(uow, listed, dropped)
        await do(
            uow, lambda work: work.products.note_complete_list([listed.id], asked_at=NOW + SECOND)
        )
        await absent(uow, dropped.id, asked_at=NOW + MINUTE)
        assert (await copy(uow, dropped.id)).removed_at == NOW + MINUTE

    async def test_leaves_a_newer_copy_as_it_is(self, uow: UnitOfWorkFactory) -> None:
        listed, newer = make.product(), make.product()
        await store(uow, listed)
        await store(uow, newer, asked_at=NOW + HOUR)
        gone = await do(
            uow, lambda work: work.products.note_complete_list([listed.id], asked_at=NOW + MINUTE)
        )
        assert gone == frozenset()
        assert await copy(uow, newer.id) == CachedProduct(product=newer, fetched_at=NOW + HOUR)

    async def test_leaves_unknown_products_alone(self, uow: UnitOfWorkFactory) -> None:
        listed, new = make.product(), make.product_id()
        await store(uow, listed)
        await absent(uow, new, asked_at=NOW, until=NOW + DAY)
        before = await unknown(uow, new)
        await do(
            uow, lambda work: work.products.note_complete_list([listed.id], asked_at=NOW + MINUTE)
        )
        assert await unknown(uow, new) == before

    async def test_is_noted_with_its_time(self, uow: UnitOfWorkFactory) -> None:
        assert await see(uow, lambda work: work.products.catalog_state()) == CatalogState()
        for asked_at in (NOW, NOW + HOUR, NOW + MINUTE):
            await _note_empty_list(uow, asked_at=asked_at)
        state = await see(uow, lambda work: work.products.catalog_state())
        assert state.fetched_at == NOW + HOUR

    async def test_is_asked_for_by_one(self, uow: UnitOfWorkFactory) -> None:
        results = await side_by_side(
            5, uow, lambda work: work.products.claim_catalog(now=NOW, until=NOW + MINUTE)
        )
        assert sorted(results, key=str) == [False] * 4 + [True]
        state = await see(uow, lambda work: work.products.catalog_state())
        assert (state.fetched_at, state.refresh.in_progress(NOW)) == (None, True)

    async def test_can_be_asked_for_when_the_lease_has_ended(self, uow: UnitOfWorkFactory) -> None:
        assert await _claim_catalog(uow, now=NOW, until=NOW + MINUTE)
        assert not await _claim_catalog(uow, now=NOW + MINUTE - TICK, until=NOW + HOUR)
        assert await _claim_catalog(uow, now=NOW + MINUTE, until=NOW + HOUR)

    async def test_can_be_asked_for_again_once_it_was_noted(self, uow: UnitOfWorkFactory) -> None:
        assert await _claim_catalog(uow, now=NOW, until=NOW + HOUR)
        await _note_empty_list(uow, asked_at=NOW)
        assert await _claim_catalog(uow, now=NOW, until=NOW + HOUR)

    async def test_is_not_asked_for_while_blocked(self, uow: UnitOfWorkFactory) -> None:
        assert await _claim_catalog(uow, now=NOW, until=NOW + DAY)
        await do(uow, lambda work: work.products.block_catalog(until=NOW + HOUR))
        await do(uow, lambda work: work.products.block_catalog(until=NOW + MINUTE))
        state = await see(uow, lambda work: work.products.catalog_state())
        assert not state.refresh.in_progress(NOW)
        assert state.refresh.blocked_until == NOW + HOUR
        assert not await _claim_catalog(uow, now=NOW + HOUR - TICK, until=NOW + DAY)
        assert await _claim_catalog(uow, now=NOW + HOUR, until=NOW + DAY)

    async def test_is_claimed_apart_from_single_products(self, uow: UnitOfWorkFactory) -> None:
        product_id = make.product_id()
        assert await _claim_catalog(uow, now=NOW, until=NOW + HOUR)
        assert await claim(uow, product_id) == {product_id}


async def _claim_catalog(uow: UnitOfWorkFactory, *, now: datetime, until: datetime) -> bool:
    return await do(uow, lambda work: work.products.claim_catalog(now=now, until=until))


async def _note_empty_list(uow: UnitOfWorkFactory, *, asked_at: datetime) -> None:
    await do(uow, lambda work: work.products.note_complete_list([], asked_at=asked_at))


class TestFavoritedProducts:
    async def test_are_listed_oldest_first(self, uow: UnitOfWorkFactory) -> None:
        customer, other = make.customer(), make.customer()
        oldest, old, fresh, nobodys = (make.product() for _ in range(4))
        gone, missing, pending = make.product(), make.product(), make.product_id()
        await store(uow, oldest, asked_at=NOW - HOUR)
        await store(uow, old, missing, asked_at=NOW - MINUTE)
        await store(uow, fresh, asked_at=NOW)
        await store(uow, nobodys, gone, asked_at=NOW - DAY)
        await removed(uow, gone.id)
        await absent(uow, missing.id, asked_at=NOW)
        await claim(uow, pending)
        async with uow() as work:
            await work.customers.add(customer)
            await work.customers.add(other)
            for product_id in (old.id, oldest.id, fresh.id, gone.id, missing.id, pending):
                for owner in (customer, other):
                    await work.favorites.put(
                        make.favorite(customer_id=owner.id, product_id=product_id),
                        at_most=PLENTY,
                    )
            await work.commit()

        async def list_favorited(limit: int) -> list[ProductId]:
            async with uow() as work:
                return list(await work.products.list_favorited(fetched_before=NOW, limit=limit))

        assert await list_favorited(10) == [oldest.id, old.id, missing.id]
        assert await list_favorited(2) == [oldest.id, old.id]

    async def test_are_none_when_nobody_favorited_any(self, uow: UnitOfWorkFactory) -> None:
        await store(uow, make.product())
        due = await see(
            uow, lambda w: w.products.list_favorited(fetched_before=NOW + DAY, limit=10)
        )
        assert list(due) == []


class TestPurgingUnknownProducts:
    async def test_erases_what_is_no_longer_believed(self, uow: UnitOfWorkFactory) -> None:
        known = make.product()
        over, believed, released, claimed, blocked = (make.product_id() for _ in range(5))
        await store(uow, known, asked_at=NOW - DAY)
        await absent(uow, over, asked_at=NOW - HOUR, until=NOW)
        await absent(uow, believed, asked_at=NOW - HOUR, until=NOW + TICK)
        await claim(uow, released, now=NOW - HOUR, until=NOW)
        await claim(uow, claimed, now=NOW - HOUR, until=NOW + TICK)
        await block(uow, blocked, until=NOW + TICK)

        assert await do(uow, lambda work: work.products.purge_unknown(now=NOW)) == 2
        assert await do(uow, lambda work: work.products.purge_unknown(now=NOW)) == 0

        asked = [known.id, over, believed, released, claimed, blocked]
        left = await see(uow, lambda work: work.products.get_many(asked))
        assert set(left) == {known.id, believed, claimed, blocked}


async def listed(uow: UnitOfWorkFactory, query: ProductQuery) -> list[ProductId]:
    page = await see(uow, lambda work: work.products.list_page(query))
    return [cached.product.id for cached in page.items]


class TestListedProducts:
    async def test_are_those_known_and_not_removed(self, uow: UnitOfWorkFactory) -> None:
        there, missing, gone = (make.product() for _ in range(3))
        await store(uow, gone, missing, there)
        await absent(uow, missing.id, asked_at=NOW + SECOND)
        await removed(uow, gone.id)
        await absent(uow, make.product_id(), asked_at=NOW)
        await claim(uow, make.product_id())
        page = await see(uow, lambda work: work.products.list_page(ProductQuery()))
        assert list(page.items) == [await copy(uow, there.id), await copy(uow, missing.id)]
        assert page.next is None

    async def test_are_of_the_category_asked_for(self, uow: UnitOfWorkFactory) -> None:
        ring, shirt = make.product(category="jewelery"), make.product(category="men's clothing")
        await store(uow, ring, shirt)
        assert await listed(uow, ProductQuery(category="men's clothing")) == [shirt.id]
        assert await listed(uow, ProductQuery(category="clothing")) == []

    async def test_have_titles_that_contain_the_text(self, uow: UnitOfWorkFactory) -> None:
        coffee, tea = make.product(title="Café FORTE 50%"), make.product(title="Chá a_b\\c")
        await store(uow, coffee, tea)
        for q, found in {
            "CAFÉ": [coffee],
            "cafe\u0301 f": [coffee],
            "%": [coffee],
            "_": [tea],
            "B\\C": [tea],
            "C": [coffee, tea],
            "cafe": [],
            "c_f": [],
        }.items():
            assert await listed(uow, ProductQuery(q=q)) == [p.id for p in found], q

    async def test_meet_all_conditions(self, uow: UnitOfWorkFactory) -> None:
        both = make.product(category="a", title="x")
        await store(uow, both, make.product(category="a"), make.product(title="x"))
        assert await listed(uow, ProductQuery(category="a", q="X")) == [both.id]


ORDER: dict[ProductSort, tuple[Callable[[Product], Any], bool]] = {
    ProductSort.ID: (lambda p: p.id, False),
    ProductSort.CHEAPEST: (lambda p: (p.price, p.id), False),
    ProductSort.DEAREST: (lambda p: (p.price, p.id), True),
    ProductSort.TITLE: (lambda p: (fold(p.title), p.id), False),
}

OFFERS = st.tuples(
    st.sampled_from(["0.00", "0.10", "9.99", "10.00", "1000000.00"]),
    st.sampled_from(["anel", "Anel", "Ágata", "ágata", "anel b", "anel-b", "Zinco"]),
)
Offer = tuple[str, str]


class TestPagesOfProducts:
    @pytest.mark.parametrize("sort", list(ProductSort))
    @given(offers=st.lists(OFFERS, max_size=9), limit=st.integers(1, 4))
    @on_storage
    async def test_hold_every_product_once_in_order(
        self, uow: UnitOfWorkFactory, sort: ProductSort, offers: list[Offer], limit: int
    ) -> None:
        category = str(make.uuid())
        products = [_offered(offer, category) for offer in offers]
        await store(uow, *products)
        key, descending = ORDER[sort]
        assert await walk(_pages(uow, category, sort, limit)) == sorted(
            products, key=key, reverse=descending
        )

    @pytest.mark.parametrize("sort", list(ProductSort))
    @given(
        offers=st.lists(OFFERS, max_size=9),
        limit=st.integers(1, 3),
        changes=st.lists(OFFERS | st.integers(0, 8)),
    )
    @on_storage
    async def test_neither_repeat_nor_skip_while_products_come_and_go(
        self,
        uow: UnitOfWorkFactory,
        sort: ProductSort,
        offers: list[Offer],
        limit: int,
        changes: list[Offer | int],
    ) -> None:
        category = str(make.uuid())
        staying = [_offered(offer, category) for offer in offers]
        await store(uow, *staying)
        pending = list(changes)

        async def something_happens() -> None:
            match pending.pop() if pending else None:
                case (price, title):
                    await store(uow, _offered((price, title), category))
                case int(index) if index < len(staying):
                    await removed(uow, staying.pop(index).id)

        seen = await walk(_pages(uow, category, sort, limit), something_happens)
        key, descending = ORDER[sort]
        assert seen == sorted(seen, key=key, reverse=descending)
        assert len({p.id for p in seen}) == len(seen)
        assert {p.id for p in staying} <= {p.id for p in seen}


def _offered(offer: Offer, category: str) -> Product:
    price, title = offer
    return make.product(price=price, title=title, category=category)


def _pages(
    uow: UnitOfWorkFactory, category: str, sort: ProductSort, limit: int
) -> Callable[[Position | None], Awaitable[Page[Product]]]:
    async def page_after(after: Position | None) -> Page[Product]:
        query = ProductQuery(category=category, sort=sort, limit=limit, after=after)
        page = await see(uow, lambda work: work.products.list_page(query))
        return Page(items=[cached.product for cached in page.items], next=page.next)

    return page_after
