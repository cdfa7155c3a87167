"""Which reads are content with storage that is behind: here it knows nothing at all."""

import pytest

from app.domain.customer import CustomerQuery
from app.domain.outcome import ProductNotFound
from app.domain.product import ProductId, ProductQuery
from tests import make
from tests.double.service import Service
from tests.double.storage import InMemoryStorage


@pytest.fixture
def service() -> Service:
    return Service(lagging=InMemoryStorage())


class TestLaggingStorage:
    async def test_answers_who_the_customers_are(self, service: Service) -> None:
        await service.customer()
        page = await service.use_cases.list_customers(CustomerQuery(limit=5))
        assert not page.items

    async def test_is_not_asked_about_one_customer(self, service: Service) -> None:
        customer = await service.customer()
        assert await service.use_cases.read_customer(customer_id=customer.id) == customer

    async def test_answers_which_prices_there_were(self, service: Service) -> None:
        service.catalog.put(make.product(id=5))
        await service.use_cases.products.read(ProductId(5))
        with pytest.raises(ProductNotFound):
            await service.use_cases.read_price_history(product_id=ProductId(5))

    async def test_is_not_asked_for_what_has_just_been_stored(self, service: Service) -> None:
        service.catalog.put(make.product(id=5))
        reading = await service.use_cases.products.list_page(ProductQuery(limit=5))
        assert [each.product.id for each in reading.page.items] == [5]

    async def test_makes_nobody_ask_the_catalog_twice(self, service: Service) -> None:
        service.catalog.put(make.product(id=5))
        await service.use_cases.products.list_page(ProductQuery(limit=5))
        calls = service.catalog.calls
        reading = await service.use_cases.products.list_page(ProductQuery(limit=5))
        assert [each.product.id for each in reading.page.items] == [5]
        assert service.catalog.calls == calls
