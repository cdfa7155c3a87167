"""Reading favorites after they were added, settled and removed."""

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
)
from app.domain.outcome import CustomerNotFound
from app.domain.page import Page, Position
from app.domain.product import CachedProduct, Product, ProductId
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import FavoriteWrites
from tests import make
from tests.contract.favorites import add, add_rejected, items, listed, stored_customer
from tests.contract.step import do, on_storage, walk
from tests.make import HOUR, NOW, SECOND

TICK = timedelta(microseconds=1)


async def cached(uow: UnitOfWorkFactory, *products: Product) -> None:
    await do(uow, lambda work: work.products.store(products, asked_at=NOW))


async def found(queries: Queries, favorite: Favorite) -> FavoriteItem | None:
    return (await queries.find_favorite(favorite.customer_id, favorite.product_id)).item


async def product_ids(queries: Queries, query: FavoriteQuery) -> list[ProductId]:
    page = (await queries.list_favorites(query)).page
    return [item.favorite.product_id for item in page.items]


class TestFavorites:
    async def test_may_wait_for_the_catalog_or_be_rejected(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        rejected = await add_rejected(uow, favorite_writes, customer.id)
        waits = make.favorite(customer_id=customer.id, when_favorited=None)
        await add(favorite_writes, waits)
        for favorite in (waits, rejected):
            assert await found(queries, favorite) == FavoriteItem(favorite=favorite, cached=None)

    async def test_come_with_the_last_known_copy(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        favorite = make.favorite(customer_id=customer.id, product_id=product.id)
        await add(favorite_writes, favorite)
        await cached(uow, product)
        expected = FavoriteItem(
            favorite=favorite, cached=CachedProduct(product=product, fetched_at=NOW)
        )
        page = (await queries.list_favorites(FavoriteQuery(customer_id=customer.id))).page
        assert await found(queries, favorite) == expected
        assert list(page.items) == [expected]
        assert await items(queries, customer.id) == [expected]

    async def test_keep_the_copy_of_a_removed_product(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product()
        await add(favorite_writes, make.favorite(customer_id=customer.id, product_id=product.id))
        await cached(uow, product)
        async with uow() as work:
            for asked_at in (NOW + SECOND, NOW + 2 * SECOND):
                await work.products.note_absence(product.id, asked_at=asked_at, until=NOW + HOUR)
            await work.commit()
        for sort in FavoriteSort:
            query = FavoriteQuery(
                customer_id=customer.id, sort=sort, category=product.category, q=product.title
            )
            (item,) = (await queries.list_favorites(query)).page.items
            assert item.status is FavoriteStatus.REMOVED
            assert item.cached is not None
            assert item.cached.product == product

    async def test_have_no_copy_of_a_product_known_to_be_absent(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        favorite = make.favorite(customer_id=customer.id)
        await add(favorite_writes, favorite)
        await do(
            uow,
            lambda work: work.products.note_absence(
                favorite.product_id, asked_at=NOW, until=NOW + HOUR
            ),
        )
        assert await found(queries, favorite) == FavoriteItem(favorite=favorite, cached=None)

    async def test_are_none_if_unknown(self, uow: UnitOfWorkFactory, queries: Queries) -> None:
        customer = await stored_customer(uow)
        assert await found(queries, make.favorite(customer_id=customer.id)) is None
        assert await found(queries, make.favorite()) is None

    async def test_tell_which_of_some_products_they_contain(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        one, other = await stored_customer(uow), await stored_customer(uow)
        await add(
            favorite_writes,
            make.favorite(customer_id=one.id, product_id=1),
            make.favorite(customer_id=one.id, product_id=2, when_favorited=None),
            make.favorite(customer_id=one.id, product_id=3),
            make.favorite(customer_id=other.id, product_id=4),
        )
        asked = [ProductId(id_) for id_ in (1, 2, 4, 5, 1)]
        assert (await queries.contains(one.id, asked)).product_ids == {1, 2}
        assert (await queries.contains(one.id, [])).product_ids == frozenset()
        with pytest.raises(CustomerNotFound):
            await queries.contains(make.customer_id(), asked)

    async def test_are_all_listed_newest_first(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        when = {7: NOW, 9: NOW, 8: NOW, 1: NOW + TICK, 2: NOW - TICK}
        await add(
            favorite_writes,
            *(
                make.favorite(customer_id=customer.id, product_id=id_, favorited_at=at)
                for id_, at in when.items()
            ),
            make.favorite(customer_id=(await stored_customer(uow)).id),
        )
        favorites = await listed(queries, customer.id)
        assert [favorite.product_id for favorite in favorites] == [1, 9, 8, 7, 2]


class TestPendingFavorites:
    async def test_are_confirmed_for_all_customers(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        one, other, third, fourth = [await stored_customer(uow) for _ in range(4)]
        snapshot = make.snapshot(price="1.00")
        rejected = await add_rejected(uow, favorite_writes, fourth.id)
        product_id = rejected.product_id
        confirmed = make.favorite(customer_id=third.id, product_id=product_id)
        elsewhere = make.favorite(customer_id=one.id, when_favorited=None)
        waiting = [
            make.favorite(customer_id=customer.id, product_id=product_id, when_favorited=None)
            for customer in (one, other)
        ]
        await add(favorite_writes, *waiting, confirmed, elsewhere)
        assert await do(uow, lambda w: w.favorites.confirm(product_id, snapshot)) == 2
        assert await do(uow, lambda w: w.favorites.confirm(product_id, snapshot)) == 0
        for favorite in waiting:
            item = await found(queries, favorite)
            assert item is not None
            assert item.favorite == replace(favorite, when_favorited=snapshot)
        for untouched in (confirmed, rejected, elsewhere):
            item = await found(queries, untouched)
            assert item is not None
            assert item.favorite == untouched

    async def test_are_rejected_for_all_customers(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        one, other, third = [await stored_customer(uow) for _ in range(3)]
        confirmed = make.favorite(customer_id=third.id, product_id=5)
        waiting = [
            make.favorite(customer_id=customer.id, product_id=5, when_favorited=None)
            for customer in (one, other)
        ]
        await add(favorite_writes, *waiting, confirmed)
        later = NOW + HOUR
        assert await do(uow, lambda w: w.favorites.reject(ProductId(5), now=later)) == 2
        assert await do(uow, lambda w: w.favorites.reject(ProductId(5), now=later + HOUR)) == 0
        for favorite in waiting:
            item = await found(queries, favorite)
            assert item is not None
            assert item.favorite.rejected_at == later
            assert item.status is FavoriteStatus.REMOVED
        item = await found(queries, confirmed)
        assert item is not None
        assert item.favorite == confirmed


class TestListedFavorites:
    async def test_are_newest_first_by_default(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        await add(
            favorite_writes,
            make.favorite(customer_id=customer.id, product_id=1),
            make.favorite(customer_id=customer.id, product_id=2, favorited_at=NOW + TICK),
            make.favorite(customer_id=(await stored_customer(uow)).id, product_id=3),
        )
        assert await product_ids(queries, FavoriteQuery(customer_id=customer.id)) == [2, 1]

    async def test_are_none_of_an_unknown_customer(self, queries: Queries) -> None:
        with pytest.raises(CustomerNotFound):
            await queries.list_favorites(FavoriteQuery(customer_id=make.customer_id()))

    async def test_are_none_of_a_new_customer(
        self, uow: UnitOfWorkFactory, queries: Queries
    ) -> None:
        query = FavoriteQuery(customer_id=(await stored_customer(uow)).id)
        page = (await queries.list_favorites(query)).page
        assert list(page.items) == []
        assert page.next is None

    async def test_are_of_the_category_asked_for(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer = await stored_customer(uow)
        ring, shirt = make.product(category="jewelery"), make.product(category="men's clothing")
        await cached(uow, ring, shirt)
        await add(
            favorite_writes,
            make.favorite(customer_id=customer.id, product_id=ring.id),
            make.favorite(customer_id=customer.id, product_id=shirt.id),
            make.favorite(customer_id=customer.id),
        )
        query = FavoriteQuery(customer_id=customer.id, category="men's clothing")
        assert await product_ids(queries, query) == [shirt.id]
        assert await product_ids(queries, replace(query, category="men")) == []

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
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        q: str,
        found: bool,
    ) -> None:
        customer, product = await stored_customer(uow), make.product(title="Café forte a_b 50%")
        await cached(uow, product)
        await add(
            favorite_writes,
            make.favorite(customer_id=customer.id, product_id=product.id),
            make.favorite(customer_id=customer.id),
        )
        query = FavoriteQuery(customer_id=customer.id, q=q)
        assert await product_ids(queries, query) == ([product.id] if found else [])

    async def test_leave_out_unknown_products_when_filtered(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        customer, product = await stored_customer(uow), make.product(category="x", title="x")
        await cached(uow, product)
        await add(
            favorite_writes,
            make.favorite(customer_id=customer.id, product_id=product.id),
            make.favorite(customer_id=customer.id, when_favorited=None),
        )
        for query in (
            FavoriteQuery(customer_id=customer.id, category="x"),
            FavoriteQuery(customer_id=customer.id, q="X"),
            FavoriteQuery(customer_id=customer.id, q=""),
        ):
            assert await product_ids(queries, query) == [product.id]

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
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sort: FavoriteSort,
        order: list[int],
    ) -> None:
        customer = await stored_customer(uow)
        await cached(
            uow,
            make.product(id=1, price="9.99", title="beta"),
            make.product(id=2, price="9.99", title="Beta"),
            make.product(id=3, price="10.00", title="Alfa"),
        )
        await add(
            favorite_writes, *(make.favorite(customer_id=customer.id, product_id=p) for p in order)
        )
        assert (
            await product_ids(queries, FavoriteQuery(customer_id=customer.id, sort=sort)) == order
        )


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
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sort: FavoriteSort,
        marks: list[Mark],
        limit: int,
    ) -> None:
        customer = await stored_customer(uow)
        await _marked(uow, favorite_writes, customer, marks)
        everything = await items(queries, customer.id)
        key, descending = ORDER[sort]
        assert await walk(_pages(queries, customer, sort, limit)) == sorted(
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
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sort: FavoriteSort,
        marks: list[Mark],
        limit: int,
        changes: list[Mark | int],
    ) -> None:
        customer = await stored_customer(uow)
        staying = await _marked(uow, favorite_writes, customer, marks)
        pending = list(changes)

        async def something_happens() -> None:
            match pending.pop() if pending else None:
                case (age, product):
                    await _marked(uow, favorite_writes, customer, [(age, product)])
                case int(index) if index < len(staying):
                    gone = staying.pop(index)
                    await favorite_writes.remove(customer.id, gone, now=NOW)

        seen = await walk(_pages(queries, customer, sort, limit), something_happens)
        key, descending = ORDER[sort]
        assert seen == sorted(seen, key=key, reverse=descending)
        ids = [item.favorite.product_id for item in seen]
        assert len(set(ids)) == len(ids)
        assert set(staying) <= set(ids)


async def _marked(
    uow: UnitOfWorkFactory, writes: FavoriteWrites, customer: Customer, marks: list[Mark]
) -> list[ProductId]:
    ids = []
    for age, known in marks:
        product = make.product()
        if known is not None:
            price, title = known
            product = replace(product, price=Decimal(price), title=title)
            await cached(uow, product)
        await add(
            writes,
            make.favorite(
                customer_id=customer.id, product_id=product.id, favorited_at=NOW + age * TICK
            ),
        )
        ids.append(product.id)
    return ids


def _pages(
    queries: Queries, customer: Customer, sort: FavoriteSort, limit: int
) -> Callable[[Position | None], Awaitable[Page[FavoriteItem]]]:
    async def page_after(after: Position | None) -> Page[FavoriteItem]:
        query = FavoriteQuery(customer_id=customer.id, sort=sort, limit=limit, after=after)
        return (await queries.list_favorites(query)).page

    return page_after
