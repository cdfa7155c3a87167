from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.customer import Customer, fold
from app.domain.favorite import (
    Favorite,
    FavoriteItem,
    FavoriteQuery,
    FavoriteSort,
    FavoriteStatus,
    Snapshot,
)
from app.domain.outcome import CustomerNotFound
from app.domain.page import Page, Position
from app.domain.product import CachedProduct, Product, ProductId
from app.domain.repository import UnitOfWork, UnitOfWorkFactory
from tests import make
from tests.contract.step import do, on_storage, see, side_by_side, walk
from tests.make import HOUR, NOW, PLENTY, SECOND

TICK = timedelta(microseconds=1)


async def stored_customer(uow: UnitOfWorkFactory) -> Customer:
    customer = make.customer()
    await do(uow, lambda work: work.customers.add(customer))
    return customer


async def stored(uow: UnitOfWorkFactory, *favorites: Favorite) -> None:
    async with uow() as work:
        for favorite in favorites:
            assert await work.favorites.put(favorite, at_most=PLENTY)
        await work.commit()


async def cached(uow: UnitOfWorkFactory, *products: Product) -> None:
    await do(uow, lambda work: work.products.store(products, asked_at=NOW))


async def listed(uow: UnitOfWorkFactory, query: FavoriteQuery) -> list[ProductId]:
    page = await see(uow, lambda work: work.favorites.list_page(query))
    return [item.favorite.product_id for item in page.items]


class TestFavorites:
    @pytest.mark.parametrize("rating", [None, make.rating(), make.rating("0.0", 0)])
    async def test_are_returned_as_they_were_stored(
        self, uow: UnitOfWorkFactory, rating: Any
    ) -> None:
        customer = await stored_customer(uow)
        snapshot = Snapshot.of(make.product(title="Bracelete 💍", price="0.10", rating=rating))
        favorite = make.favorite(
            customer_id=customer.id, favorited_at=NOW + TICK, when_favorited=snapshot
        )
        await stored(uow, favorite)
        item = await see(uow, lambda w: w.favorites.get(customer.id, favorite.product_id))
        assert item == FavoriteItem(favorite=favorite, cached=None)

    async def test_may_wait_for_the_catalog_or_be_rejected(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        pending = make.favorite(customer_id=customer.id, when_favorited=None)
        rejected = make.favorite(customer_id=customer.id, when_favorited=None, rejected_at=NOW)
        await stored(uow, pending, rejected)
        async with uow() as work:
            for favorite in (pending, rejected):
                found = await work.favorites.get(customer.id, favorite.product_id)
                assert found == FavoriteItem(favorite=favorite, cached=None)

    async def test_come_with_the_last_known_copy(self, uow: UnitOfWorkFactory) -> None:
        customer, product = await stored_customer(uow), make.product()
        favorite = make.favorite(customer_id=customer.id, product_id=product.id)
        await stored(uow, favorite)
        await cached(uow, product)
        expected = FavoriteItem(
            favorite=favorite, cached=CachedProduct(product=product, fetched_at=NOW)
        )
        async with uow() as work:
            page = await work.favorites.list_page(FavoriteQuery(customer_id=customer.id))
            assert await work.favorites.get(customer.id, product.id) == expected
            assert list(page.items) == [expected]
            assert await work.favorites.list_all(customer.id) == [expected]

    async def test_keep_the_copy_of_a_removed_product(self, uow: UnitOfWorkFactory) -> None:
        customer, product = await stored_customer(uow), make.product()
        await stored(uow, make.favorite(customer_id=customer.id, product_id=product.id))
        await cached(uow, product)
        async with uow() as work:
            for asked_at in (NOW + SECOND, NOW + 2 * SECOND):
                await work.products.note_absence(product.id, asked_at=asked_at, until=NOW + HOUR)
            await work.commit()
        async with uow() as work:
            for sort in FavoriteSort:
                query = FavoriteQuery(
                    customer_id=customer.id, sort=sort, category=product.category, q=product.title
                )
                (item,) = (await work.favorites.list_page(query)).items
                assert item.status is FavoriteStatus.REMOVED
                assert item.cached is not None
                assert item.cached.product == product

    async def test_have_no_copy_of_a_product_known_to_be_absent(
        self, uow: UnitOfWorkFactory
    ) -> None:
        customer = await stored_customer(uow)
        favorite = make.favorite(customer_id=customer.id)
        await stored(uow, favorite)
        await do(
            uow,
            lambda work: work.products.note_absence(
                favorite.product_id, asked_at=NOW, until=NOW + HOUR
            ),
        )
        assert await see(uow, lambda w: w.favorites.get(customer.id, favorite.product_id)) == (
            FavoriteItem(favorite=favorite, cached=None)
        )

    async def test_are_none_if_unknown(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        async with uow() as work:
            assert await work.favorites.get(customer.id, ProductId(5)) is None
            assert await work.favorites.get(make.customer_id(), ProductId(5)) is None

    async def test_need_a_customer(self, uow: UnitOfWorkFactory) -> None:
        with pytest.raises(CustomerNotFound):
            await do(uow, lambda work: work.favorites.put(make.favorite(), at_most=PLENTY))

    async def test_are_new_only_once(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        favorite = make.favorite(customer_id=customer.id)
        again = replace(favorite, favorited_at=NOW + HOUR, when_favorited=None)
        assert await do(uow, lambda work: work.favorites.put(favorite, at_most=PLENTY))
        assert not await do(uow, lambda work: work.favorites.put(again, at_most=PLENTY))
        item = await see(uow, lambda w: w.favorites.get(customer.id, favorite.product_id))
        assert item is not None
        assert item.favorite == favorite

    async def test_are_new_only_once_side_by_side(self, uow: UnitOfWorkFactory) -> None:
        favorite = make.favorite(customer_id=(await stored_customer(uow)).id)
        results = await side_by_side(
            5, uow, lambda work: work.favorites.put(favorite, at_most=PLENTY)
        )
        assert sorted(results, key=str) == [False] * 4 + [True]

    async def test_belong_to_one_customer(self, uow: UnitOfWorkFactory) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        await stored(
            uow,
            make.favorite(customer_id=one.id, product_id=5),
            make.favorite(customer_id=other.id, product_id=5),
        )
        assert await do(uow, lambda work: work.favorites.remove(one.id, ProductId(5), now=NOW))
        async with uow() as work:
            assert await work.favorites.get(one.id, ProductId(5)) is None
            assert await work.favorites.get(other.id, ProductId(5)) is not None

    async def test_are_removed_once(self, uow: UnitOfWorkFactory) -> None:
        favorite = make.favorite(customer_id=(await stored_customer(uow)).id)
        await stored(uow, favorite)
        key = (favorite.customer_id, favorite.product_id)
        assert await do(uow, lambda work: work.favorites.remove(*key, now=NOW))
        assert not await do(uow, lambda work: work.favorites.remove(*key, now=NOW))
        assert await see(uow, lambda work: work.favorites.get(*key)) is None
        assert await do(uow, lambda work: work.favorites.put(favorite, at_most=PLENTY))

    async def test_tell_which_of_some_products_they_contain(self, uow: UnitOfWorkFactory) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        await stored(
            uow,
            make.favorite(customer_id=one.id, product_id=1),
            make.favorite(customer_id=one.id, product_id=2, when_favorited=None),
            make.favorite(customer_id=one.id, product_id=3),
            make.favorite(customer_id=other.id, product_id=4),
        )
        asked = [ProductId(id_) for id_ in (1, 2, 4, 5, 1)]
        async with uow() as work:
            assert await work.favorites.contains(one.id, asked) == {1, 2}
            assert await work.favorites.contains(one.id, []) == frozenset()
            assert await work.favorites.contains(make.customer_id(), asked) == frozenset()

    async def test_are_all_listed_newest_first(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        when = {7: NOW, 9: NOW, 8: NOW, 1: NOW + TICK, 2: NOW - TICK}
        await stored(
            uow,
            *(
                make.favorite(customer_id=customer.id, product_id=id_, favorited_at=at)
                for id_, at in when.items()
            ),
            make.favorite(customer_id=(await stored_customer(uow)).id),
        )
        items = await see(uow, lambda work: work.favorites.list_all(customer.id))
        assert [item.favorite.product_id for item in items] == [1, 9, 8, 7, 2]


class TestCount:
    async def test_is_that_of_the_list(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        first, second = (make.favorite(customer_id=customer.id) for _ in range(2))
        await stored(uow, first, second)
        async with uow() as work:
            await work.favorites.remove(customer.id, first.product_id, now=NOW)
            assert await work.favorites.count(customer.id) == 1
        async with uow() as work:
            assert await work.favorites.count(customer.id) == 2
            assert await work.favorites.count(make.customer_id()) == 0


class TestPendingFavorites:
    async def test_are_counted(self, uow: UnitOfWorkFactory) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        await stored(
            uow,
            make.favorite(customer_id=one.id, when_favorited=None),
            make.favorite(customer_id=one.id, when_favorited=None),
            make.favorite(customer_id=one.id, when_favorited=None, rejected_at=NOW),
            make.favorite(customer_id=one.id),
            make.favorite(customer_id=other.id, when_favorited=None),
        )
        async with uow() as work:
            assert await work.favorites.count_pending(one.id) == 2
            assert await work.favorites.count_pending(make.customer_id()) == 0

    async def test_cannot_exceed_a_bound_side_by_side(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)

        async def put_up_to_two(work: UnitOfWork) -> bool:
            if await work.favorites.count_pending(customer.id) >= 2:
                return False
            return await work.favorites.put(
                make.favorite(customer_id=customer.id, when_favorited=None),
                at_most=PLENTY,
            )

        results = await side_by_side(5, uow, put_up_to_two)
        assert sorted(results, key=str) == [False] * 3 + [True] * 2

    async def test_are_confirmed_for_everybody(self, uow: UnitOfWorkFactory) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        snapshot = make.snapshot(price="1.00")
        confirmed = make.favorite(customer_id=(await stored_customer(uow)).id, product_id=5)
        rejected = make.favorite(
            customer_id=(await stored_customer(uow)).id,
            product_id=5,
            when_favorited=None,
            rejected_at=NOW,
        )
        elsewhere = make.favorite(customer_id=one.id, product_id=6, when_favorited=None)
        await stored(
            uow,
            make.favorite(customer_id=one.id, product_id=5, when_favorited=None),
            make.favorite(customer_id=other.id, product_id=5, when_favorited=None),
            confirmed,
            rejected,
            elsewhere,
        )
        assert await do(uow, lambda w: w.favorites.confirm(ProductId(5), snapshot)) == 2
        assert await do(uow, lambda w: w.favorites.confirm(ProductId(5), snapshot)) == 0
        async with uow() as work:
            for customer in (one, other):
                item = await work.favorites.get(customer.id, ProductId(5))
                assert item is not None
                assert item.favorite.when_favorited == snapshot
                assert item.favorite.favorited_at == NOW
            for untouched in (confirmed, rejected, elsewhere):
                item = await work.favorites.get(untouched.customer_id, untouched.product_id)
                assert item is not None
                assert item.favorite == untouched

    async def test_are_rejected_for_everybody(self, uow: UnitOfWorkFactory) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        confirmed = make.favorite(customer_id=(await stored_customer(uow)).id, product_id=5)
        await stored(
            uow,
            make.favorite(customer_id=one.id, product_id=5, when_favorited=None),
            make.favorite(customer_id=other.id, product_id=5, when_favorited=None),
            confirmed,
        )
        later = NOW + HOUR
        assert await do(uow, lambda w: w.favorites.reject(ProductId(5), now=later)) == 2
        assert await do(uow, lambda w: w.favorites.reject(ProductId(5), now=later + HOUR)) == 0
        async with uow() as work:
            for customer in (one, other):
                item = await work.favorites.get(customer.id, ProductId(5))
                assert item is not None
                assert item.favorite.rejected_at == later
                assert item.status is FavoriteStatus.REMOVED
            item = await work.favorites.get(confirmed.customer_id, ProductId(5))
            assert item is not None
            assert item.favorite == confirmed

    async def test_make_room_when_they_were_rejected(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        rejected = make.favorite(customer_id=customer.id, when_favorited=None, rejected_at=NOW)
        await stored(uow, rejected)
        again = replace(rejected, favorited_at=NOW + HOUR, rejected_at=None)
        # Even if there is room for nothing else.
        assert await do(uow, lambda work: work.favorites.put(again, at_most=1))
        assert not await do(uow, lambda work: work.favorites.put(again, at_most=1))
        item = await see(uow, lambda w: w.favorites.get(customer.id, rejected.product_id))
        assert item is not None
        assert item.favorite == again


class TestListedFavorites:
    async def test_are_newest_first_by_default(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        await stored(
            uow,
            make.favorite(customer_id=customer.id, product_id=1),
            make.favorite(customer_id=customer.id, product_id=2, favorited_at=NOW + TICK),
            make.favorite(customer_id=(await stored_customer(uow)).id, product_id=3),
        )
        assert await listed(uow, FavoriteQuery(customer_id=customer.id)) == [2, 1]

    async def test_are_none_of_an_unknown_customer(self, uow: UnitOfWorkFactory) -> None:
        query = FavoriteQuery(customer_id=make.customer_id())
        page = await see(uow, lambda work: work.favorites.list_page(query))
        assert list(page.items) == []
        assert page.next is None

    async def test_are_of_the_category_asked_for(self, uow: UnitOfWorkFactory) -> None:
        customer = await stored_customer(uow)
        ring, shirt = make.product(category="jewelery"), make.product(category="men's clothing")
        await cached(uow, ring, shirt)
        await stored(
            uow,
            make.favorite(customer_id=customer.id, product_id=ring.id),
            make.favorite(customer_id=customer.id, product_id=shirt.id),
            make.favorite(customer_id=customer.id),
        )
        query = FavoriteQuery(customer_id=customer.id, category="men's clothing")
        assert await listed(uow, query) == [shirt.id]
        assert await listed(uow, replace(query, category="men")) == []

    @pytest.mark.parametrize(
        ("q", "found"),
        [
            ("CAFÉ", True),
            ("cafe\u0301", True),
            ("forte A_B 50%", True),
            ("_", True),
            ("cafe", False),
            ("%forte", False),
            ("c_f", False),
            ("\\", False),
        ],
    )
    async def test_have_titles_that_contain_the_text(
        self, uow: UnitOfWorkFactory, q: str, found: bool
    ) -> None:
        customer, product = await stored_customer(uow), make.product(title="Café forte a_b 50%")
        await cached(uow, product)
        await stored(
            uow,
            make.favorite(customer_id=customer.id, product_id=product.id),
            make.favorite(customer_id=customer.id),
        )
        query = FavoriteQuery(customer_id=customer.id, q=q)
        assert await listed(uow, query) == ([product.id] if found else [])

    async def test_leave_out_unknown_products_when_filtered(self, uow: UnitOfWorkFactory) -> None:
        customer, product = await stored_customer(uow), make.product(category="x", title="x")
        await cached(uow, product)
        await stored(
            uow,
            make.favorite(customer_id=customer.id, product_id=product.id),
            make.favorite(customer_id=customer.id, when_favorited=None),
        )
        for query in (
            FavoriteQuery(customer_id=customer.id, category="x"),
            FavoriteQuery(customer_id=customer.id, q="X"),
            FavoriteQuery(customer_id=customer.id, q=""),
        ):
            assert await listed(uow, query) == [product.id]

    @pytest.mark.parametrize(
        ("sort", "order"),
        [
            (FavoriteSort.CHEAPEST, [1, 2, 3, 8, 9]),
            (FavoriteSort.DEAREST, [3, 2, 1, 9, 8]),
            (FavoriteSort.TITLE, [3, 1, 2, 8, 9]),
            (FavoriteSort.OLDEST, [1, 2, 3, 8, 9]),
            (FavoriteSort.NEWEST, [9, 8, 3, 2, 1]),
        ],
    )
    async def test_come_in_the_order_asked_for(
        self, uow: UnitOfWorkFactory, sort: FavoriteSort, order: list[int]
    ) -> None:
        customer = await stored_customer(uow)
        await cached(
            uow,
            make.product(id=1, price="9.99", title="beta"),
            make.product(id=2, price="9.99", title="Beta"),
            make.product(id=3, price="10.00", title="Alfa"),
        )
        await stored(uow, *(make.favorite(customer_id=customer.id, product_id=p) for p in order))
        assert await listed(uow, FavoriteQuery(customer_id=customer.id, sort=sort)) == order


def _by_product(
    by: Callable[[Product], Any], *, descending: bool
) -> Callable[[FavoriteItem], Any]:
    def key(item: FavoriteItem) -> Any:
        tie = item.favorite.product_id
        if item.cached is None:
            return (not descending, by(make.product()), tie)
        return (descending, by(item.cached.product), tie)

    return key


ORDER: dict[FavoriteSort, tuple[Callable[[FavoriteItem], Any], bool]] = {
    FavoriteSort.OLDEST: (lambda i: (i.favorite.favorited_at, i.favorite.product_id), False),
    FavoriteSort.NEWEST: (lambda i: (i.favorite.favorited_at, i.favorite.product_id), True),
    FavoriteSort.CHEAPEST: (_by_product(lambda p: p.price, descending=False), False),
    FavoriteSort.DEAREST: (_by_product(lambda p: p.price, descending=True), True),
    FavoriteSort.TITLE: (_by_product(lambda p: fold(p.title), descending=False), False),
}

# When it was favorited; the price and title of the product, or None if it is not known.
MARKS = st.tuples(
    st.integers(0, 3),
    st.none()
    | st.tuples(
        st.sampled_from(["0.00", "0.10", "9.99", "10.00", "1000000.00"]),
        st.sampled_from(["anel", "Anel", "Ágata", "ágata", "anel b", "anel-b", "Zinco"]),
    ),
)
Mark = tuple[int, tuple[str, str] | None]


class TestPagesOfFavorites:
    @pytest.mark.parametrize("sort", list(FavoriteSort))
    @given(marks=st.lists(MARKS, max_size=9), limit=st.integers(1, 4))
    @on_storage
    async def test_hold_every_favorite_once_in_order(
        self, uow: UnitOfWorkFactory, sort: FavoriteSort, marks: list[Mark], limit: int
    ) -> None:
        customer = await stored_customer(uow)
        await _marked(uow, customer, marks)
        everything = await see(uow, lambda work: work.favorites.list_all(customer.id))
        key, descending = ORDER[sort]
        assert await walk(_pages(uow, customer, sort, limit)) == sorted(
            everything, key=key, reverse=descending
        )

    @pytest.mark.parametrize("sort", list(FavoriteSort))
    @given(
        marks=st.lists(MARKS, max_size=9),
        limit=st.integers(1, 3),
        changes=st.lists(MARKS | st.integers(0, 8)),
    )
    @on_storage
    async def test_neither_repeat_nor_skip_while_favorites_come_and_go(
        self,
        uow: UnitOfWorkFactory,
        sort: FavoriteSort,
        marks: list[Mark],
        limit: int,
        changes: list[Mark | int],
    ) -> None:
        customer = await stored_customer(uow)
        staying = await _marked(uow, customer, marks)
        pending = list(changes)

        async def something_happens() -> None:
            match pending.pop() if pending else None:
                case (age, product):
                    await _marked(uow, customer, [(age, product)])
                case int(index) if index < len(staying):
                    gone = staying.pop(index)
                    await do(uow, lambda work: work.favorites.remove(customer.id, gone, now=NOW))

        seen = await walk(_pages(uow, customer, sort, limit), something_happens)
        key, descending = ORDER[sort]
        assert seen == sorted(seen, key=key, reverse=descending)
        ids = [item.favorite.product_id for item in seen]
        assert len(set(ids)) == len(ids)
        assert set(staying) <= set(ids)


async def _marked(
    uow: UnitOfWorkFactory, customer: Customer, marks: list[Mark]
) -> list[ProductId]:
    ids = []
    async with uow() as work:
        for age, known in marks:
            product = make.product()
            if known is not None:
                price, title = known
                product = replace(product, price=Decimal(price), title=title)
                await work.products.store([product], asked_at=NOW)
            favorite = make.favorite(
                customer_id=customer.id, product_id=product.id, favorited_at=NOW + age * TICK
            )
            await work.favorites.put(favorite, at_most=PLENTY)
            ids.append(product.id)
        await work.commit()
    return ids


def _pages(
    uow: UnitOfWorkFactory, customer: Customer, sort: FavoriteSort, limit: int
) -> Callable[[Position | None], Awaitable[Page[FavoriteItem]]]:
    async def page_after(after: Position | None) -> Page[FavoriteItem]:
        query = FavoriteQuery(customer_id=customer.id, sort=sort, limit=limit, after=after)
        return await see(uow, lambda work: work.favorites.list_page(query))

    return page_after
