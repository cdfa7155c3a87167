import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from app.domain.customer import CustomerId
from app.domain.favorite import BatchResult, FavoriteItem, FavoriteQuery, FavoriteStatus, Snapshot
from app.domain.outcome import (
    CatalogUnavailable,
    CustomerNotFound,
    FavoriteNotFound,
    ProductNotFound,
    TooManyPending,
)
from app.domain.product import Product, ProductId
from tests import make
from tests.double.service import Service


async def favorites(service: Service, customer_id: CustomerId) -> list[FavoriteItem]:
    _, page = await service.use_cases.list_favorites(FavoriteQuery(customer_id=customer_id))
    assert page is not None
    return list(page.items)


async def listed(service: Service) -> Product:
    """Put a product into the catalog."""
    product = make.product()
    service.catalog.put(product)
    return product


class TestFavoriteProduct:
    async def test_adds_once_and_keeps_a_snapshot_of_the_product(self, service: Service) -> None:
        customer, product = await service.customer(), await listed(service)
        favorite = service.use_cases.favorite_product

        first = await favorite(customer_id=customer.id, product_id=product.id)
        service.clock.advance(make.MINUTE)
        again = await favorite(customer_id=customer.id, product_id=product.id)

        assert (first.created, again.created) == (True, False)
        assert again.item == first.item
        assert first.item.status is FavoriteStatus.AVAILABLE
        assert first.item.favorite.when_favorited == Snapshot.of(product)
        assert await favorites(service, customer.id) == [first.item]

    async def test_refuses_a_product_that_the_catalog_does_not_list(
        self, service: Service
    ) -> None:
        customer = await service.customer()
        with pytest.raises(ProductNotFound):
            await service.use_cases.favorite_product(
                customer_id=customer.id, product_id=ProductId(999)
            )

    async def test_needs_a_customer(self, service: Service) -> None:
        product = await listed(service)
        for down in (False, True):
            service.catalog.down = down
            with pytest.raises(CustomerNotFound):
                await service.use_cases.favorite_product(
                    customer_id=make.customer_id(),
                    product_id=ProductId(999) if down else product.id,
                )
        assert service.storage.jobs == []

    async def test_shows_how_the_price_has_changed(self, service: Service) -> None:
        customer, product = await service.customer(), await listed(service)
        await service.use_cases.favorite_product(customer_id=customer.id, product_id=product.id)
        service.catalog.put(make.product(id=product.id, price=str(product.price - 4)))
        service.clock.advance(make.CACHE_POLICY.soft_ttl + make.SECOND)

        [before] = await favorites(service, customer.id)
        await service.tasks.run()
        [after] = await favorites(service, customer.id)

        assert before.price_change == 0
        assert after.price_change == Decimal(-4)


class TestFavoritesDuringAnOutage:
    async def test_are_accepted_and_validated_later(self, service: Service) -> None:
        customer, product = await service.customer(), await listed(service)
        service.catalog.down = True

        accepted = await service.use_cases.favorite_product(
            customer_id=customer.id, product_id=product.id
        )
        assert accepted.item.status is FavoriteStatus.PENDING
        assert service.storage.jobs == [product.id]
        with pytest.raises(CatalogUnavailable):
            await service.use_cases.validate_product(product_id=product.id)
        assert [item.status for item in await favorites(service, customer.id)] == [
            FavoriteStatus.PENDING
        ]

        service.catalog.down = False
        await service.use_cases.validate_product(product_id=product.id)
        await service.use_cases.validate_product(product_id=product.id)
        [item] = await favorites(service, customer.id)
        assert item.status is FavoriteStatus.AVAILABLE
        assert item.favorite.when_favorited == Snapshot.of(product)
        assert item.favorite.favorited_at == accepted.item.favorite.favorited_at

    async def test_are_accepted_while_the_catalog_is_slow(self) -> None:
        service = Service(favorite_patience=timedelta(milliseconds=1))
        customer, product = await service.customer(), await listed(service)
        service.catalog.hold()

        accepted = await service.use_cases.favorite_product(
            customer_id=customer.id, product_id=product.id
        )
        several = await service.use_cases.change_favorites(
            customer_id=customer.id, add=[product.id, ProductId(998), ProductId(999)], remove=[]
        )

        assert accepted.item.status is FavoriteStatus.PENDING
        assert several[ProductId(999)] is BatchResult.PENDING
        # The question goes on, and its answer is kept.
        service.catalog.release()
        await service.tasks.run()
        assert (await service.use_cases.products.read(product.id)).cached.product == product
        assert service.catalog.found == [product.id]

    async def test_are_removed_with_a_reason_when_there_is_no_such_product(
        self, service: Service
    ) -> None:
        customer = await service.customer()
        service.catalog.down = True
        await service.use_cases.favorite_product(
            customer_id=customer.id, product_id=ProductId(999)
        )
        service.catalog.down = False

        await service.use_cases.validate_product(product_id=ProductId(999))

        [item] = await favorites(service, customer.id)
        assert (item.status, item.reason) == (FavoriteStatus.REMOVED, "not_in_catalog")

    async def test_are_replaced_when_a_rejected_product_appears(self, service: Service) -> None:
        customer, product = await service.customer(), make.product()
        favorite = service.use_cases.favorite_product
        service.catalog.down = True
        await favorite(customer_id=customer.id, product_id=product.id)
        service.catalog.down = False
        await service.use_cases.validate_product(product_id=product.id)

        service.catalog.put(product)
        service.clock.advance(make.CACHE_POLICY.negative_ttl)
        again = await favorite(customer_id=customer.id, product_id=product.id)

        assert again.created
        assert again.item.status is FavoriteStatus.AVAILABLE

    async def test_of_known_products_do_not_wait(self, service: Service) -> None:
        customer, product = await service.customer(), await listed(service)
        await service.use_cases.products.read(product.id)
        service.catalog.down = True
        service.clock.advance(make.CACHE_POLICY.hard_ttl + make.SECOND)
        accepted = await service.use_cases.favorite_product(
            customer_id=customer.id, product_id=product.id
        )
        assert accepted.item.status is FavoriteStatus.AVAILABLE

    async def test_are_bounded_for_each_customer(self, service: Service) -> None:
        customer, other = await service.customer(), await service.customer()
        service.catalog.down = True
        favorite = service.use_cases.favorite_product
        results = await asyncio.gather(
            *(favorite(customer_id=customer.id, product_id=ProductId(n)) for n in range(1, 10)),
            return_exceptions=True,
        )
        refused = [result for result in results if isinstance(result, TooManyPending)]
        assert len(refused) == 9 - service.pending_max
        assert len(service.storage.jobs) == service.pending_max
        await favorite(customer_id=other.id, product_id=ProductId(1))


class TestListFavorites:
    async def test_shows_the_newest_first(self, service: Service) -> None:
        customer = await service.customer()
        products = [await listed(service) for _ in range(3)]
        for product in products:
            await service.use_cases.favorite_product(
                customer_id=customer.id, product_id=product.id
            )
            service.clock.advance(make.SECOND)
        assert [item.favorite.product_id for item in await favorites(service, customer.id)] == [
            product.id for product in reversed(products)
        ]

    async def test_does_not_depend_on_the_catalog(self, service: Service) -> None:
        customer, product = await service.customer(), await listed(service)
        await service.use_cases.favorite_product(customer_id=customer.id, product_id=product.id)
        service.catalog.down = True
        service.clock.advance(make.CACHE_POLICY.hard_ttl * 30)
        calls = service.catalog.calls

        [item] = await favorites(service, customer.id)

        assert item.cached is not None
        assert item.cached.product == product
        assert service.catalog.calls == calls
        assert service.tasks.kept

    async def test_needs_a_customer(self, service: Service) -> None:
        with pytest.raises(CustomerNotFound):
            await favorites(service, make.customer_id())


class TestOtherReads:
    async def test_find_one_favorite(self, service: Service) -> None:
        customer, product = await service.customer(), await listed(service)
        read = service.use_cases.read_favorite
        with pytest.raises(FavoriteNotFound):
            await read(customer_id=customer.id, product_id=product.id)
        favorited = await service.use_cases.favorite_product(
            customer_id=customer.id, product_id=product.id
        )
        version, item = await read(customer_id=customer.id, product_id=product.id)
        assert item == favorited.item
        assert version.favorites == 1

    async def test_tell_which_products_are_favorites(self, service: Service) -> None:
        customer, product = await service.customer(), await listed(service)
        await service.use_cases.favorite_product(customer_id=customer.id, product_id=product.id)
        version, contained = await service.use_cases.queries.contains(
            customer.id, [product.id, ProductId(999)]
        )
        assert contained == frozenset({product.id})
        assert version.favorites == 1

    async def test_give_customer_and_favorites_in_one(self, service: Service) -> None:
        customer, product = await service.customer(), await listed(service)
        favorited = await service.use_cases.favorite_product(
            customer_id=customer.id, product_id=product.id
        )
        profile = await service.use_cases.read_profile(customer_id=customer.id, limit=25)
        assert profile.customer == customer
        assert list(profile.page.items) == [favorited.item]
        with pytest.raises(CustomerNotFound):
            await service.use_cases.read_profile(customer_id=make.customer_id(), limit=25)

    async def test_show_the_prices_seen(self, service: Service) -> None:
        product = await listed(service)
        with pytest.raises(ProductNotFound):
            await service.use_cases.read_price_history(product_id=product.id)
        await service.use_cases.products.read(product.id)
        service.catalog.put(make.product(id=product.id, price=str(product.price + 1)))
        service.clock.advance(make.HOUR)
        await service.use_cases.products.read(product.id)
        await service.tasks.run()
        history = await service.use_cases.read_price_history(product_id=product.id)
        assert [point.price for point in history] == [product.price, product.price + 1]


class TestRemoveFavorite:
    async def test_may_be_repeated(self, service: Service) -> None:
        customer, product = await service.customer(), await listed(service)
        await service.use_cases.favorite_product(customer_id=customer.id, product_id=product.id)
        for _ in range(2):
            await service.use_cases.remove_favorite(customer_id=customer.id, product_id=product.id)
        assert await favorites(service, customer.id) == []
