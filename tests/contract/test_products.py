import asyncio
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
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import FavoriteWrites
from tests import make
from tests.contract.favorites import add, stored_customer
from tests.contract.step import do, on_storage, see, side_by_side, walk
from tests.make import DAY, HOUR, MINUTE, NOW, SECOND

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


async def lease(
    uow: UnitOfWorkFactory,
    *product_ids: ProductId,
    now: datetime = NOW,
    until: datetime = NOW + MINUTE,
) -> frozenset[ProductId]:
    return await do(
        uow, lambda work: work.products.acquire_lease(product_ids, now=now, until=until)
    )


async def block(uow: UnitOfWorkFactory, *product_ids: ProductId, until: datetime) -> None:
    await do(uow, lambda work: work.products.block(product_ids, until=until))


async def copy(queries: Queries, product_id: ProductId) -> CachedProduct:
    found = await queries.find_product(product_id)
    assert isinstance(found, CachedProduct)
    return found


async def unknown(queries: Queries, product_id: ProductId) -> UnknownProduct:
    found = await queries.find_product(product_id)
    assert isinstance(found, UnknownProduct)
    return found


async def catalog_state(uow: UnitOfWorkFactory, queries: Queries) -> CatalogState:
    state, _ = await queries.list_products(ProductQuery(limit=1), current=True)
    assert await see(uow, lambda work: work.products.catalog_state()) == state
    return state


class TestProducts:
    @pytest.mark.parametrize("rating", [None, make.rating("0.0", 0), make.rating("3.99", 120)])
    @pytest.mark.parametrize("price", ["0.00", "0.01", "109.95", "99999999.99"])
    async def test_are_returned_as_they_were_stored(
        self, uow: UnitOfWorkFactory, queries: Queries, rating: Rating | None, price: str
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
        found = await copy(queries, product.id)
        assert found == CachedProduct(product=product, fetched_at=NOW + TICK)
        assert str(found.product.price) == price

    async def test_are_none_if_nothing_is_known(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        assert await queries.find_product(make.product_id()) is None
        assert await queries.list_prices(make.product_id()) is None
        assert await see(uow, lambda work: work.products.get(make.product_id())) is None

    async def test_are_returned_together(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        known, missing, nothing = make.product(), make.product_id(), make.product_id()
        await store(uow, known)
        await absent(uow, missing, asked_at=NOW)
        found = await queries.find_products([missing, nothing, known.id, known.id])
        assert found == {
            known.id: await queries.find_product(known.id),
            missing: await queries.find_product(missing),
        }
        assert await queries.find_products([]) == {}

    async def test_are_the_same_in_a_unit_of_work(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        known, missing, leased = make.product(), make.product_id(), make.product_id()
        await store(uow, known)
        await absent(uow, missing, asked_at=NOW)
        await lease(uow, leased)
        async with uow() as work:
            for product_id in (known.id, missing, leased):
                stored = await work.products.get(product_id)
                assert stored is not None
                assert stored == await queries.find_product(product_id)

    async def test_are_found_side_by_side(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        product, missing, leased = make.product(), make.product_id(), make.product_id()
        await store(uow, product)
        await absent(uow, missing, asked_at=NOW, until=NOW + HOUR)
        await lease(uow, leased)
        ids = [product.id, missing, leased, make.product_id()]
        async with uow() as work:
            stored = [await work.products.get(each) for each in ids]
        for _ in range(2):
            assert await asyncio.gather(*map(queries.find_product, ids * 2)) == stored * 2

    async def test_show_every_change(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        product = make.product(title="Casaco")
        assert await queries.find_product(product.id) is None
        for title, age in (("Casaco", 0), ("Casaco novo", 1), ("Casaco", 2)):
            changed = replace(product, title=title)
            await store(uow, changed, asked_at=NOW + age * MINUTE)
            assert await copy(queries, product.id) == CachedProduct(
                product=changed, fetched_at=NOW + age * MINUTE
            )

    async def test_are_remembered_as_they_were_read(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product, missing = make.product(), make.product_id()
        await store(uow, product)
        await absent(uow, missing, asked_at=NOW)
        assert queries.last_seen_product(product.id) is None
        seen = await copy(queries, product.id)
        await unknown(queries, missing)
        await store(uow, replace(product, title="New"), asked_at=NOW + MINUTE)
        assert queries.last_seen_product(product.id) == seen
        assert queries.last_seen_product(missing) is None
        newer = await copy(queries, product.id)
        assert newer != seen
        assert queries.last_seen_product(product.id) == newer


class TestStoringProducts:
    async def test_replaces_an_older_copy(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
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
        assert await copy(queries, old.id) == CachedProduct(product=new, fetched_at=NOW + TICK)

    async def test_leaves_a_newer_copy_as_it_is(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        new = make.product(price="2.00")
        await store(uow, new, asked_at=NOW + TICK)
        before = await copy(queries, new.id)
        await store(uow, replace(new, title="Old", price=Decimal("1.00")), asked_at=NOW)
        assert await copy(queries, new.id) == before
        assert await queries.list_prices(new.id) == [
            PricePoint(price=Decimal("2.00"), seen_at=NOW + TICK)
        ]

    async def test_decides_for_each_copy_alone(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        ahead, behind, new = (make.product(title="Before") for _ in range(3))
        await store(uow, ahead, asked_at=NOW + HOUR)
        await store(uow, behind, asked_at=NOW - HOUR)
        await store(uow, *(replace(p, title="After") for p in (ahead, behind, new)))
        titles = [(await copy(queries, p.id)).product.title for p in (ahead, behind, new)]
        assert titles == ["Before", "After", "After"]

    async def test_does_nothing_without_products(self, uow: UnitOfWorkFactory) -> None:
        await store(uow)

    async def test_counts_the_last_of_two_copies(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        first = make.product(price="1.00")
        last = replace(first, price=Decimal("2.00"))
        await store(uow, first, last)
        assert (await copy(queries, first.id)).product == last
        assert await queries.list_prices(first.id) == [
            PricePoint(price=Decimal("2.00"), seen_at=NOW)
        ]

    async def test_releases_the_lease(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        known, new = make.product(), make.product()
        await store(uow, known)
        await lease(uow, known.id, new.id)
        await store(uow, known, new, asked_at=NOW + SECOND)
        for product in (known, new):
            assert (await copy(queries, product.id)).refresh.allowed(NOW)
        assert await lease(uow, known.id, new.id) == {known.id, new.id}

    async def test_makes_a_missing_product_available_again(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + SECOND)
        await store(uow, product, asked_at=NOW + MINUTE)
        assert await copy(queries, product.id) == CachedProduct(
            product=product, fetched_at=NOW + MINUTE
        )

    async def test_makes_a_removed_product_available_again(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product()
        await store(uow, product)
        await removed(uow, product.id)
        await store(uow, product, asked_at=NOW + MINUTE)
        assert await copy(queries, product.id) == CachedProduct(
            product=product, fetched_at=NOW + MINUTE
        )

    async def test_does_not_undo_a_later_absence(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        missing, gone = make.product(), make.product()
        await store(uow, missing, gone)
        await absent(uow, missing.id, asked_at=NOW + HOUR)
        await absent(uow, gone.id, asked_at=NOW + HOUR)
        await absent(uow, gone.id, asked_at=NOW + 2 * HOUR)
        await store(uow, missing, gone, asked_at=NOW + MINUTE)
        assert (await copy(queries, missing.id)).missing_since == NOW + HOUR
        assert (await copy(queries, gone.id)).removed_at == NOW + 2 * HOUR

    async def test_makes_an_absent_product_known(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product()
        await absent(uow, product.id, asked_at=NOW, until=NOW + DAY)
        await store(uow, product, asked_at=NOW + MINUTE)
        assert await copy(queries, product.id) == CachedProduct(
            product=product, fetched_at=NOW + MINUTE
        )

    async def test_ends_with_the_newest_answer_side_by_side(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product(price="0.00")
        prices = iter([3, 1, 5, 2, 4])

        def answer(price: int) -> Product:
            return replace(product, price=Decimal(f"{price}.00"))

        async def store_next(work: Any) -> None:
            price = next(prices)
            await work.products.store([answer(price)], asked_at=NOW + price * SECOND)

        assert await side_by_side(5, uow, store_next) == [None] * 5
        assert await copy(queries, product.id) == CachedProduct(
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
        self, uow: UnitOfWorkFactory, queries: Queries, answers: list[tuple[int, str]]
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
            assert (await copy(queries, product.id)).fetched_at == asked_at
        assert (await queries.list_prices(product.id) or []) == kept


class TestPriceHistory:
    async def test_holds_only_changes_oldest_first(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product()
        for hour, price in enumerate(["5.00", "5.00", "4.99", "4.99", "5.00"]):
            await store(uow, replace(product, price=Decimal(price)), asked_at=NOW + hour * HOUR)
        assert await queries.list_prices(product.id) == [
            PricePoint(price=Decimal("5.00"), seen_at=NOW),
            PricePoint(price=Decimal("4.99"), seen_at=NOW + 2 * HOUR),
            PricePoint(price=Decimal("5.00"), seen_at=NOW + 4 * HOUR),
        ]

    async def test_ignores_changes_of_anything_else(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product()
        await store(uow, product)
        await store(uow, replace(product, title="New", rating=None), asked_at=NOW + HOUR)
        assert len(await queries.list_prices(product.id) or ()) == 1

    async def test_survives_the_removal_of_a_product(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product()
        await store(uow, product)
        await removed(uow, product.id)
        await store(uow, product, asked_at=NOW + HOUR)
        assert await queries.list_prices(product.id) == [
            PricePoint(price=product.price, seen_at=NOW)
        ]

    async def test_is_of_one_product(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        one, other = make.product(price="1.00"), make.product(price="2.00")
        await store(uow, one, other)
        assert await queries.list_prices(one.id) == [
            PricePoint(price=Decimal("1.00"), seen_at=NOW)
        ]


class TestLeases:
    async def test_are_acquired_once(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        assert await lease(uow, known.id, new, new) == {known.id, new}
        assert await lease(uow, known.id, new) == frozenset()
        assert await lease(uow) == frozenset()

    async def test_are_acquired_once_side_by_side(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        both = [known.id, new]
        results = await side_by_side(
            5, uow, lambda work: work.products.acquire_lease(both, now=NOW, until=NOW + MINUTE)
        )
        assert sorted(results, key=str) == [frozenset()] * 4 + [frozenset(both)]

    async def test_are_returned_only_for_what_was_free(self, uow: UnitOfWorkFactory) -> None:
        taken, free = make.product_id(), make.product_id()
        await lease(uow, taken)
        assert await lease(uow, taken, free) == {free}

    async def test_are_part_of_what_is_read(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await lease(uow, known.id, new, until=NOW + MINUTE)
        for refresh in (
            (await copy(queries, known.id)).refresh,
            (await unknown(queries, new)).refresh,
        ):
            assert refresh.leased_until == NOW + MINUTE
            assert refresh.in_progress(NOW + MINUTE - TICK)

    async def test_expire(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await lease(uow, known.id, new, until=NOW + MINUTE)
        just_before = NOW + MINUTE - TICK
        later = NOW + HOUR
        assert await lease(uow, known.id, new, now=just_before, until=later) == frozenset()
        assert await lease(uow, known.id, new, now=NOW + MINUTE, until=later) == {known.id, new}

    async def test_change_nothing_else(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        product, missing = make.product(), make.product_id()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + SECOND)
        await absent(uow, missing, asked_at=NOW, until=NOW + HOUR)
        copy_before = await copy(queries, product.id)
        await lease(uow, product.id, missing)
        copy_after = await copy(queries, product.id)
        assert replace(copy_after, refresh=copy_before.refresh) == copy_before
        assert (await unknown(queries, missing)).absent_until == NOW + HOUR

    async def test_leave_an_id_without_a_copy_unknown(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        new = make.product_id()
        await lease(uow, new)
        assert (await unknown(queries, new)).absent_until is None

    async def test_are_refused_while_blocked(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        both = (known.id, new)
        await lease(uow, *both, until=NOW + HOUR)
        await block(uow, *both, until=NOW + MINUTE)
        for refresh in (
            (await copy(queries, known.id)).refresh,
            (await unknown(queries, new)).refresh,
        ):
            assert not refresh.in_progress(NOW)
            assert refresh.blocked_until == NOW + MINUTE
        assert await lease(uow, *both, now=NOW + MINUTE - TICK) == frozenset()
        # The lease would have lasted longer: it was released.
        assert await lease(uow, *both, now=NOW + MINUTE, until=NOW + DAY) == set(both)

    async def test_can_be_blocked_without_having_been_acquired(
        self, uow: UnitOfWorkFactory
    ) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await block(uow, known.id, new, until=NOW + MINUTE)
        assert await lease(uow, known.id, new) == frozenset()

    async def test_stay_blocked_for_the_longest_of_several(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await block(uow, known.id, new, until=NOW + HOUR)
        await block(uow, known.id, new, new, until=NOW + MINUTE)
        assert await lease(uow, known.id, new, now=NOW + MINUTE) == frozenset()

    async def test_are_free_again_after_a_success(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        await store(uow, product)
        await block(uow, product.id, until=NOW + SECOND)
        await lease(uow, product.id, now=NOW + SECOND)
        await store(uow, product, asked_at=NOW + SECOND)
        assert await lease(uow, product.id, now=NOW + SECOND) == {product.id}


class TestAbsence:
    async def test_of_an_unknown_product_is_remembered(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product_id = make.product_id()
        await absent(uow, product_id, asked_at=NOW, until=NOW + MINUTE)
        found = await unknown(queries, product_id)
        assert found.absent_until == NOW + MINUTE
        assert found.absent(NOW + MINUTE - TICK)
        assert not found.absent(NOW + MINUTE)

    async def test_of_an_unknown_product_is_remembered_until_the_later_time(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product_id = make.product_id()
        await absent(uow, product_id, asked_at=NOW + MINUTE, until=NOW + 2 * MINUTE)
        await absent(uow, product_id, asked_at=NOW, until=NOW + MINUTE)
        assert (await unknown(queries, product_id)).absent_until == NOW + 2 * MINUTE

    async def test_releases_the_lease(self, uow: UnitOfWorkFactory) -> None:
        known, new = make.product(), make.product_id()
        await store(uow, known)
        await lease(uow, known.id, new)
        await absent(uow, known.id, asked_at=NOW + SECOND)
        await absent(uow, new, asked_at=NOW + SECOND)
        assert await lease(uow, known.id, new) == {known.id, new}

    async def test_makes_a_known_product_missing_at_first(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + SECOND)
        assert await copy(queries, product.id) == CachedProduct(
            product=product, fetched_at=NOW, missing_since=NOW + SECOND
        )

    async def test_removes_a_known_product_when_repeated(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
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
        assert await copy(queries, product.id) == expected
        await absent(uow, product.id, asked_at=NOW + HOUR)
        assert await copy(queries, product.id) == expected

    @pytest.mark.parametrize("asked_at", [NOW + MINUTE, NOW + SECOND])
    async def test_removes_only_by_a_later_request(
        self, uow: UnitOfWorkFactory, queries: Queries, asked_at: datetime
    ) -> None:
        product = make.product()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + MINUTE)
        await absent(uow, product.id, asked_at=asked_at)
        found = await copy(queries, product.id)
        assert (found.missing_since, found.removed) == (NOW + MINUTE, False)

    async def test_leaves_a_newer_copy_as_it_is(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product()
        await store(uow, product, asked_at=NOW + HOUR)
        await removed(uow, product.id)
        assert await copy(queries, product.id) == CachedProduct(
            product=product, fetched_at=NOW + HOUR
        )

    async def test_needs_two_answers_anew_after_the_product_was_there(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        product = make.product()
        await store(uow, product)
        await absent(uow, product.id, asked_at=NOW + SECOND)
        await store(uow, product, asked_at=NOW + MINUTE)
        await absent(uow, product.id, asked_at=NOW + HOUR)
        found = await copy(queries, product.id)
        assert (found.missing_since, found.removed) == (NOW + HOUR, False)


class TestCompleteList:
    async def test_removes_what_was_missing_before(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        listed, missing, unsuspected = make.product(), make.product(), make.product()
        await store(uow, listed, missing, unsuspected)
        await absent(uow, missing.id, asked_at=NOW + SECOND)
        asked_at = NOW + MINUTE
        gone = await do(
            uow, lambda work: work.products.note_complete_list([listed.id], asked_at=asked_at)
        )
        assert gone == {missing.id}
        assert await copy(queries, listed.id) == CachedProduct(product=listed, fetched_at=NOW)
        assert (await copy(queries, missing.id)).missing_since == NOW + SECOND
        assert (await copy(queries, missing.id)).removed_at == asked_at
        assert await copy(queries, unsuspected.id) == CachedProduct(
            product=unsuspected, fetched_at=NOW, missing_since=asked_at
        )

    async def test_removes_by_two_lists(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
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
        assert (await copy(queries, dropped.id)).removed_at == NOW + HOUR

    async def test_removes_with_an_answer_for_the_product_alone(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        listed, dropped = make.product(), make.product()
        await store(uow, listed, dropped)
        await do(
            uow, lambda work: work.products.note_complete_list([listed.id], asked_at=NOW + SECOND)
        )
        await absent(uow, dropped.id, asked_at=NOW + MINUTE)
        assert (await copy(queries, dropped.id)).removed_at == NOW + MINUTE

    async def test_leaves_a_newer_copy_as_it_is(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        listed, newer = make.product(), make.product()
        await store(uow, listed)
        await store(uow, newer, asked_at=NOW + HOUR)
        gone = await do(
            uow, lambda work: work.products.note_complete_list([listed.id], asked_at=NOW + MINUTE)
        )
        assert gone == frozenset()
        assert await copy(queries, newer.id) == CachedProduct(product=newer, fetched_at=NOW + HOUR)

    async def test_leaves_unknown_products_alone(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        listed, new = make.product(), make.product_id()
        await store(uow, listed)
        await absent(uow, new, asked_at=NOW, until=NOW + DAY)
        before = await unknown(queries, new)
        await do(
            uow, lambda work: work.products.note_complete_list([listed.id], asked_at=NOW + MINUTE)
        )
        assert await unknown(queries, new) == before

    async def test_is_noted_with_its_time(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        assert await catalog_state(uow, queries) == CatalogState()
        for asked_at in (NOW, NOW + HOUR, NOW + MINUTE):
            await _note_empty_list(uow, asked_at=asked_at)
        state = await catalog_state(uow, queries)
        assert state.fetched_at == NOW + HOUR

    async def test_is_leased_to_one(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        results = await side_by_side(
            5, uow, lambda work: work.products.acquire_catalog_lease(now=NOW, until=NOW + MINUTE)
        )
        assert sorted(results, key=str) == [False] * 4 + [True]
        state = await catalog_state(uow, queries)
        assert (state.fetched_at, state.refresh.in_progress(NOW)) == (None, True)

    async def test_can_be_leased_when_the_lease_has_expired(self, uow: UnitOfWorkFactory) -> None:
        assert await _lease_catalog(uow, now=NOW, until=NOW + MINUTE)
        assert not await _lease_catalog(uow, now=NOW + MINUTE - TICK, until=NOW + HOUR)
        assert await _lease_catalog(uow, now=NOW + MINUTE, until=NOW + HOUR)

    async def test_can_be_leased_again_once_it_was_noted(self, uow: UnitOfWorkFactory) -> None:
        assert await _lease_catalog(uow, now=NOW, until=NOW + HOUR)
        await _note_empty_list(uow, asked_at=NOW)
        assert await _lease_catalog(uow, now=NOW, until=NOW + HOUR)

    async def test_is_not_leased_while_blocked(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        assert await _lease_catalog(uow, now=NOW, until=NOW + DAY)
        await do(uow, lambda work: work.products.block_catalog(until=NOW + HOUR))
        await do(uow, lambda work: work.products.block_catalog(until=NOW + MINUTE))
        state = await catalog_state(uow, queries)
        assert not state.refresh.in_progress(NOW)
        assert state.refresh.blocked_until == NOW + HOUR
        assert not await _lease_catalog(uow, now=NOW + HOUR - TICK, until=NOW + DAY)
        assert await _lease_catalog(uow, now=NOW + HOUR, until=NOW + DAY)

    async def test_has_another_lease_than_single_products(self, uow: UnitOfWorkFactory) -> None:
        product_id = make.product_id()
        assert await _lease_catalog(uow, now=NOW, until=NOW + HOUR)
        assert await lease(uow, product_id) == {product_id}


async def _lease_catalog(uow: UnitOfWorkFactory, *, now: datetime, until: datetime) -> bool:
    return await do(uow, lambda work: work.products.acquire_catalog_lease(now=now, until=until))


async def _note_empty_list(uow: UnitOfWorkFactory, *, asked_at: datetime) -> None:
    await do(uow, lambda work: work.products.note_complete_list([], asked_at=asked_at))


class TestFavoritedProducts:
    async def test_are_listed_oldest_first(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, other = await stored_customer(uow), await stored_customer(uow)
        oldest, old, fresh, not_favorited = (make.product() for _ in range(4))
        gone, missing, pending = make.product(), make.product(), make.product_id()
        await store(uow, oldest, asked_at=NOW - HOUR)
        await store(uow, old, missing, asked_at=NOW - MINUTE)
        await store(uow, fresh, asked_at=NOW)
        await store(uow, not_favorited, gone, asked_at=NOW - DAY)
        await removed(uow, gone.id)
        await absent(uow, missing.id, asked_at=NOW)
        await lease(uow, pending)
        for product_id in (old.id, oldest.id, fresh.id, gone.id, missing.id, pending):
            for owner in (customer, other):
                await add(
                    favorite_writes, make.favorite(customer_id=owner.id, product_id=product_id)
                )

        async def list_favorited(limit: int) -> list[ProductId]:
            return list(await queries.list_favorited(fetched_before=NOW, limit=limit))

        assert await list_favorited(10) == [oldest.id, old.id, missing.id]
        assert await list_favorited(2) == [oldest.id, old.id]

    async def test_are_none_if_there_is_no_favorite(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        await store(uow, make.product())
        due = await queries.list_favorited(fetched_before=NOW + DAY, limit=10)
        assert list(due) == []


class TestPurgingUnknownProducts:
    async def test_erases_what_has_expired(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        known = make.product()
        over, absent_still, released, leased, blocked = (make.product_id() for _ in range(5))
        await store(uow, known, asked_at=NOW - DAY)
        await absent(uow, over, asked_at=NOW - HOUR, until=NOW)
        await absent(uow, absent_still, asked_at=NOW - HOUR, until=NOW + TICK)
        await lease(uow, released, now=NOW - HOUR, until=NOW)
        await lease(uow, leased, now=NOW - HOUR, until=NOW + TICK)
        await block(uow, blocked, until=NOW + TICK)

        assert await do(uow, lambda work: work.products.purge_unknown(now=NOW)) == 2
        assert await do(uow, lambda work: work.products.purge_unknown(now=NOW)) == 0

        asked = [known.id, over, absent_still, released, leased, blocked]
        left = await queries.find_products(asked)
        assert set(left) == {known.id, absent_still, leased, blocked}


async def listed(queries: Queries, query: ProductQuery) -> list[ProductId]:
    _, page = await queries.list_products(query)
    return [cached.product.id for cached in page.items]


class TestListedProducts:
    async def test_are_those_known_and_not_removed(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        there, missing, gone = (make.product() for _ in range(3))
        await store(uow, gone, missing, there)
        await absent(uow, missing.id, asked_at=NOW + SECOND)
        await removed(uow, gone.id)
        await absent(uow, make.product_id(), asked_at=NOW)
        await lease(uow, make.product_id())
        _, page = await queries.list_products(ProductQuery())
        assert list(page.items) == [await copy(queries, there.id), await copy(queries, missing.id)]
        assert page.next is None

    async def test_are_of_the_category_asked_for(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        ring, shirt = make.product(category="jewelery"), make.product(category="men's clothing")
        await store(uow, ring, shirt)
        assert await listed(queries, ProductQuery(category="men's clothing")) == [shirt.id]
        assert await listed(queries, ProductQuery(category="clothing")) == []

    async def test_have_titles_that_contain_the_text(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
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
            assert await listed(queries, ProductQuery(q=q)) == [p.id for p in found], q

    async def test_meet_all_conditions(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        both = make.product(category="a", title="x")
        await store(uow, both, make.product(category="a"), make.product(title="x"))
        assert await listed(queries, ProductQuery(category="a", q="X")) == [both.id]


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
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        sort: ProductSort,
        offers: list[Offer],
        limit: int,
    ) -> None:
        category = str(make.uuid())
        products = [_offered(offer, category) for offer in offers]
        await store(uow, *products)
        key, descending = ORDER[sort]
        assert await walk(_pages(queries, category, sort, limit)) == sorted(
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
        queries: Queries,
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

        seen = await walk(_pages(queries, category, sort, limit), something_happens)
        key, descending = ORDER[sort]
        assert seen == sorted(seen, key=key, reverse=descending)
        assert len({p.id for p in seen}) == len(seen)
        assert {p.id for p in staying} <= {p.id for p in seen}


def _offered(offer: Offer, category: str) -> Product:
    price, title = offer
    return make.product(price=price, title=title, category=category)


def _pages(
    queries: Queries, category: str, sort: ProductSort, limit: int
) -> Callable[[Position | None], Awaitable[Page[Product]]]:
    async def page_after(after: Position | None) -> Page[Product]:
        query = ProductQuery(category=category, sort=sort, limit=limit, after=after)
        _, page = await queries.list_products(query)
        return Page(items=[cached.product for cached in page.items], next=page.next)

    return page_after
