"""Which reads may lag behind: here they come from a replica that has not received anything."""

import pytest

from app.domain.customer import CustomerQuery
from app.domain.outcome import ProductNotFound
from app.domain.product import ProductId, ProductQuery
from tests import make
from tests.double.service import Service
from tests.double.storage import InMemoryStorage


@pytest.fixture
def service() -> Service:
    return Service(replica=InMemoryStorage())


class TestReplica:
    async def test_serves_lists_of_customers(self, service: Service) -> None:
        await service.customer()
        page = await service.use_cases.queries.list_customers(CustomerQuery(limit=5))
        assert not page.items

    async def test_is_not_used_for_one_customer(self, service: Service) -> None:
        customer = await service.customer()
        assert await service.use_cases.read_customer(customer_id=customer.id) == customer

    async def test_serves_price_histories(self, service: Service) -> None:
        service.catalog.put(make.product(id=5))
        await service.use_cases.products.read(ProductId(5))
        with pytest.raises(ProductNotFound):
            await service.use_cases.read_price_history(product_id=ProductId(5))

    async def test_is_not_used_for_what_was_stored_just_now(self, service: Service) -> None:
        service.catalog.put(make.product(id=5))
        reading = await service.use_cases.catalog.list_page(ProductQuery(limit=5))
        assert [each.product.id for each in reading.page.items] == [5]

    async def test_causes_no_second_call_to_the_catalog(self, service: Service) -> None:
        service.catalog.put(make.product(id=5))
        await service.use_cases.catalog.list_page(ProductQuery(limit=5))
        calls = service.catalog.calls
        reading = await service.use_cases.catalog.list_page(ProductQuery(limit=5))
        assert [each.product.id for each in reading.page.items] == [5]
        assert service.catalog.calls == calls
