"""Favorites that are added on the side are as those that a unit of work adds."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.domain.customer import Customer
from app.domain.favorite import Favorite, FavoriteQuery, Snapshot
from app.domain.product import ProductId
from app.domain.repository import Additions, UnitOfWorkFactory
from tests import make
from tests.contract.step import do, see
from tests.make import NOW, PLENTY


async def owner(uow: UnitOfWorkFactory) -> Customer:
    """Store a customer with a list of one favorite."""
    customer = make.customer()
    await do(uow, lambda work: work.customers.add(customer))
    await do(
        uow,
        lambda work: work.favorites.put(make.favorite(customer_id=customer.id), at_most=PLENTY),
    )
    return customer


async def listed(uow: UnitOfWorkFactory, customer: Customer) -> Sequence[Favorite]:
    query = FavoriteQuery(customer_id=customer.id, limit=100)
    page = await see(uow, lambda work: work.favorites.list_page(query))
    return [item.favorite for item in page.items]


async def popularity(uow: UnitOfWorkFactory, product_id: ProductId) -> int:
    """Return how many customers favor a product, by the count that is kept."""
    product = make.product(id=product_id)
    await do(uow, lambda work: work.products.store([product], asked_at=NOW))
    popular = await see(uow, lambda work: work.popularity.list_popular(at_least=1, limit=1000))
    return next((p.favorites for p in popular if p.cached.product.id == product_id), 0)


class TestAdditions:
    async def test_are_kept_as_they_are(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customer = await owner(uow)
        for rating in (None, make.rating(), make.rating("0.0", 0)):
            product = make.product(title="Bracelete 💍", price="0.10", rating=rating)
            favorite = make.favorite(
                customer_id=customer.id,
                product_id=product.id,
                when_favorited=Snapshot.of(product),
            )
            before = await see(uow, lambda work: work.favorites.version(customer.id))
            size = await see(uow, lambda work: work.favorites.count(customer.id))
            assert await additions.add(favorite, at_most=PLENTY) is True
            assert favorite in await listed(uow, customer)
            after = await see(uow, lambda work: work.favorites.version(customer.id))
            assert after.favorites == before.favorites + 1
            assert await see(uow, lambda work: work.favorites.count(customer.id)) == size + 1
            assert await popularity(uow, product.id) == 1

    async def test_change_nothing_a_second_time(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customer = await owner(uow)
        [present] = await listed(uow, customer)
        before = await see(uow, lambda work: work.favorites.version(customer.id))
        again = replace(present, favorited_at=make.NOW + make.HOUR)
        assert await additions.add(again, at_most=PLENTY) is False
        assert await listed(uow, customer) == [present]
        assert await see(uow, lambda work: work.favorites.version(customer.id)) == before
        assert await popularity(uow, present.product_id) == 1

    async def test_leave_to_others_what_is_no_plain_case(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customer, new = await owner(uow), make.customer()
        await do(uow, lambda work: work.customers.add(new))
        rejected = make.favorite(
            customer_id=customer.id, when_favorited=None, rejected_at=make.NOW
        )
        await do(uow, lambda work: work.favorites.put(rejected, at_most=PLENTY))
        before = await listed(uow, customer)
        for favorite, at_most in (
            (make.favorite(customer_id=new.id), PLENTY),
            (make.favorite(), PLENTY),
            (make.favorite(customer_id=customer.id), 2),
            (make.favorite(customer_id=customer.id, when_favorited=None), PLENTY),
            (replace(rejected, rejected_at=None, when_favorited=make.snapshot()), PLENTY),
        ):
            assert await additions.add(favorite, at_most=at_most) is None
        assert await listed(uow, customer) == before
        assert await listed(uow, new) == []

    async def test_forget_that_a_favorite_was_removed(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customer = await owner(uow)
        [favorite] = await listed(uow, customer)
        await do(
            uow, lambda work: work.favorites.remove(customer.id, favorite.product_id, now=NOW)
        )
        assert await additions.add(favorite, at_most=PLENTY) is True
        assert await see(uow, lambda work: work.favorites.list_removed(customer.id)) == []
        assert await listed(uow, customer) == [favorite]

    async def test_of_many_at_once_are_all_kept_once(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        customers = [await owner(uow) for _ in range(5)]
        product_ids = [make.product_id() for _ in range(4)]
        wanted = [
            make.favorite(customer_id=customer.id, product_id=product_id)
            for _ in range(3)
            for product_id in product_ids
            for customer in customers
        ]
        results = await asyncio.gather(
            *(additions.add(favorite, at_most=PLENTY) for favorite in wanted)
        )
        # Of a customer one goes at a time; the others are left for units of work.
        async with uow() as work:
            for favorite, result in zip(wanted, results, strict=True):
                if result is None:
                    await work.favorites.put(favorite, at_most=PLENTY)
            await work.commit()
        assert results.count(True) >= len(customers)
        for customer in customers:
            assert len(await listed(uow, customer)) == 1 + len(product_ids)
        async with uow() as work:
            sizes = [await work.favorites.count(customer.id) for customer in customers]
        assert sizes == [1 + len(product_ids)] * len(customers)
        for product_id in product_ids:
            assert await popularity(uow, product_id) == len(customers)

    async def test_wait_for_nobody_who_holds_a_list(
        self, uow: UnitOfWorkFactory, additions: Additions
    ) -> None:
        busy, free = await owner(uow), await owner(uow)
        async with uow() as work:
            await work.favorites.put(make.favorite(customer_id=busy.id), at_most=PLENTY)
            tries = [
                asyncio.ensure_future(
                    additions.add(make.favorite(customer_id=customer.id), at_most=PLENTY)
                )
                for customer in (busy, free)
            ]
            if not _in_memory(work):
                assert await asyncio.gather(*tries) == [None, True]
        await asyncio.gather(*tries)


def _in_memory(work: object) -> bool:
    """Whether the storage is the double, in which who comes second waits."""
    return "double" in type(work).__module__
