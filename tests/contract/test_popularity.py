from app.domain.customer import Customer
from app.domain.favorite import Favorite
from app.domain.product import Product
from app.domain.repository import UnitOfWorkFactory
from tests import make
from tests.contract.step import do, see
from tests.make import HOUR, NOW, PLENTY, SECOND


async def favored(uow: UnitOfWorkFactory, counts: dict[Product, int]) -> list[Customer]:
    """Store products, and customers who favor as many of them as is said; the first all."""
    customers = [make.customer() for _ in range(max(counts.values()))]
    async with uow() as work:
        await work.products.store(counts, asked_at=NOW)
        for customer in customers:
            await work.customers.add(customer)
        await work.commit()
    for number, customer in enumerate(customers):
        async with uow() as work:
            for product in sorted(counts, key=lambda p: p.id):
                if number < counts[product]:
                    await work.favorites.put(_favorite(customer, product), at_most=PLENTY)
            await work.commit()
    return customers


def _favorite(customer: Customer, product: Product) -> Favorite:
    return make.favorite(customer_id=customer.id, product_id=product.id)


async def popular(
    uow: UnitOfWorkFactory, *, at_least: int = 1, limit: int = 100
) -> list[tuple[int, int]]:
    found = await see(uow, lambda w: w.popularity.list_popular(at_least=at_least, limit=limit))
    return [(p.cached.product.id, p.favorites) for p in found]


class TestPopularProducts:
    async def test_are_those_that_most_favor(self, uow: UnitOfWorkFactory) -> None:
        one, two, three, also_two = (make.product() for _ in range(4))
        await favored(uow, {one: 1, two: 2, three: 3, also_two: 2})
        ranked = [(three.id, 3), (also_two.id, 2), (two.id, 2), (one.id, 1)]
        assert await popular(uow) == ranked
        assert await popular(uow, at_least=2) == ranked[:3]
        assert await popular(uow, limit=2) == ranked[:2]

    async def test_count_what_is_added_removed_and_restored(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        customer, _ = await favored(uow, {product: 2})
        key = (customer.id, product.id)
        for _ in range(2):
            await do(uow, lambda work: work.favorites.remove(*key, now=NOW))
            assert await popular(uow) == [(product.id, 1)]
        for _ in range(2):
            await do(
                uow,
                lambda work: work.favorites.restore(*key, removed_since=NOW, at_most=PLENTY),
            )
            assert await popular(uow) == [(product.id, 2)]
        await do(
            uow, lambda work: work.favorites.put(_favorite(customer, product), at_most=PLENTY)
        )
        assert await popular(uow) == [(product.id, 2)]

    async def test_lose_the_favorites_of_a_customer_who_goes(self, uow: UnitOfWorkFactory) -> None:
        one, two = make.product(), make.product()
        customer, *_ = await favored(uow, {one: 1, two: 2})
        await do(uow, lambda work: work.customers.remove(customer.id))
        assert await popular(uow) == [(two.id, 1)]

    async def test_are_not_counted_without_a_commit(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        customer, *_ = await favored(uow, {product: 1})
        await see(uow, lambda w: w.favorites.remove(customer.id, product.id, now=NOW))
        assert await popular(uow) == [(product.id, 1)]

    async def test_are_in_the_catalog(self, uow: UnitOfWorkFactory) -> None:
        product = make.product()
        customer, *_ = await favored(uow, {product: 1})
        unknown = make.favorite(customer_id=customer.id, when_favorited=None)
        await do(uow, lambda work: work.favorites.put(unknown, at_most=PLENTY))
        assert await popular(uow) == [(product.id, 1)]
        for number in (1, 2):
            at = NOW + number * SECOND
            await do(
                uow,
                lambda work, at=at: work.products.note_absence(  # type: ignore[misc]  # bound now
                    product.id, asked_at=at, until=at + HOUR
                ),
            )
        assert await popular(uow) == []

    async def test_are_counted_right_from_the_beginning(self, uow: UnitOfWorkFactory) -> None:
        await favored(uow, {make.product(): 2, make.product(): 1})
        assert await do(uow, lambda work: work.popularity.reconcile()) == 0
