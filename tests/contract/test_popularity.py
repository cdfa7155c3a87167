from app.domain.customer import Customer
from app.domain.favorite import Favorite
from app.domain.product import Product
from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.writes import FavoriteWrites
from tests import make
from tests.contract.favorites import add, stored_customer
from tests.contract.step import do, see
from tests.make import HOUR, LIMITS, NOW, SECOND


async def favored(
    uow: UnitOfWorkFactory, writes: FavoriteWrites, counts: dict[Product, int]
) -> list[Customer]:
    """Store products, and for each as many customers who favor it; the first favors all."""
    customers = [await stored_customer(uow) for _ in range(max(counts.values()))]
    await do(uow, lambda work: work.products.store(counts, asked_at=NOW))
    for product, count in counts.items():
        await add(writes, *(_favorite(customer, product) for customer in customers[:count]))
    return customers


def _favorite(customer: Customer, product: Product) -> Favorite:
    return make.favorite(customer_id=customer.id, product_id=product.id)


async def popular(
    queries: Queries, *, at_least: int = 1, limit: int = 100
) -> list[tuple[int, int]]:
    found = await queries.list_popular(at_least=at_least, limit=limit)
    return [(p.cached.product.id, p.favorites) for p in found]


class TestPopularProducts:
    async def test_are_those_that_most_favor(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        one, two, three, also_two = (make.product() for _ in range(4))
        await favored(uow, favorite_writes, {one: 1, two: 2, three: 3, also_two: 2})
        ranked = [(three.id, 3), (also_two.id, 2), (two.id, 2), (one.id, 1)]
        assert await popular(queries) == ranked
        assert await popular(queries, at_least=2) == ranked[:3]
        assert await popular(queries, limit=2) == ranked[:2]

    async def test_count_what_is_added_removed_and_restored(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        product = make.product()
        customer, _ = await favored(uow, favorite_writes, {product: 2})
        key = (customer.id, product.id)
        for _ in range(2):
            await favorite_writes.remove(*key, now=NOW)
            assert await popular(queries) == [(product.id, 1)]
        for _ in range(2):
            await favorite_writes.restore(*key, removed_since=NOW, limits=LIMITS)
            assert await popular(queries) == [(product.id, 2)]
        await favorite_writes.add(_favorite(customer, product), limits=LIMITS)
        assert await popular(queries) == [(product.id, 2)]

    async def test_lose_the_favorites_of_a_customer_who_goes(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        one, two = make.product(), make.product()
        customer, *_ = await favored(uow, favorite_writes, {one: 1, two: 2})
        await do(uow, lambda work: work.customers.remove(customer.id))
        assert await popular(queries) == [(two.id, 1)]

    async def test_do_not_change_without_a_commit(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        product = make.product()
        customer, *_ = await favored(uow, favorite_writes, {product: 1})
        await see(uow, lambda work: work.customers.remove(customer.id))
        assert await popular(queries) == [(product.id, 1)]

    async def test_are_in_the_catalog(
        self, uow: UnitOfWorkFactory, queries: Queries, favorite_writes: FavoriteWrites
    ) -> None:
        product = make.product()
        customer, *_ = await favored(uow, favorite_writes, {product: 1})
        unknown = make.favorite(customer_id=customer.id, when_favorited=None)
        await add(favorite_writes, unknown)
        assert await popular(queries) == [(product.id, 1)]
        for number in (1, 2):
            at = NOW + number * SECOND
            await do(
                uow,
                lambda work, at=at: work.products.note_absence(  # type: ignore[misc]  # bound now
                    product.id, asked_at=at, until=at + HOUR
                ),
            )
        assert await popular(queries) == []

    async def test_are_counted_correctly_from_the_beginning(
        self, uow: UnitOfWorkFactory, favorite_writes: FavoriteWrites
    ) -> None:
        await favored(uow, favorite_writes, {make.product(): 2, make.product(): 1})
        assert await do(uow, lambda work: work.popularity.reconcile()) == 0
