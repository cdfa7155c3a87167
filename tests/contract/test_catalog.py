"""The contract of `ProductCatalog`, for the double and for the Fake Store's adapter."""

from collections.abc import Iterable
from decimal import Decimal
from json import dumps
from typing import Protocol

import httpx2
import pytest

from app.application.ports import ProductCatalog
from app.domain.outcome import CatalogUnavailable
from app.domain.product import Product, ProductId
from tests import make
from tests.double.catalog import StubCatalog
from tests.integration.fakestore.upstream import answer, catalog_answered_by

FIVE = make.product(id=5)
SIX = make.product(id=6, rating=None)


class Stocked(Protocol):
    """Create a catalog of these products."""

    def __call__(self, products: Iterable[Product], *, down: bool = False) -> ProductCatalog: ...


def _stub(products: Iterable[Product], *, down: bool = False) -> ProductCatalog:
    catalog = StubCatalog(*products)
    catalog.down = down
    return catalog


def _fake_store(products: Iterable[Product], *, down: bool = False) -> ProductCatalog:
    bodies = {f"/products/{product.id}": _json(product) for product in products}
    bodies["/products"] = f"[{','.join(bodies.values())}]"

    async def handle(request: httpx2.Request) -> httpx2.Response:
        return answer(status=503) if down else answer(bodies.get(request.url.path, "null"))

    return catalog_answered_by(handle)


def _json(product: Product) -> str:
    rating = product.rating and {
        "rate": float(product.rating.rate),
        "count": product.rating.count,
    }
    members = {
        "id": product.id,
        "title": product.title,
        "price": float(product.price),
        "description": product.description,
        "category": product.category,
        "image": product.image,
        "rating": rating,
    }
    return dumps(members)


@pytest.fixture(params=[_stub, _fake_store], ids=["memory", "fakestore"])
def stocked(request: pytest.FixtureRequest) -> Stocked:
    """Run each test with a catalog in memory and with one over HTTP."""
    make_catalog: Stocked = request.param
    return make_catalog


class TestProductCatalog:
    async def test_finds_a_product(self, stocked: Stocked) -> None:
        assert await stocked([FIVE, SIX]).find(SIX.id) == SIX

    async def test_returns_none_for_an_absent_product(self, stocked: Stocked) -> None:
        assert await stocked([FIVE]).find(ProductId(7)) is None

    async def test_lists_all_products(self, stocked: Stocked) -> None:
        assert sorted(await stocked([FIVE, SIX]).list_all(), key=lambda p: p.id) == [FIVE, SIX]

    async def test_returns_prices_with_two_decimal_places(self, stocked: Stocked) -> None:
        product = await stocked([make.product(id=5, price="0.10")]).find(FIVE.id)
        assert product is not None
        assert product.price.as_tuple() == Decimal("0.10").as_tuple()

    async def test_is_unavailable_if_it_is_empty(self, stocked: Stocked) -> None:
        with pytest.raises(CatalogUnavailable):
            await stocked([]).list_all()

    async def test_is_unavailable_with_a_retry_time(self, stocked: Stocked) -> None:
        catalog = stocked([FIVE], down=True)
        for ask in (catalog.list_all, lambda: catalog.find(FIVE.id)):
            with pytest.raises(CatalogUnavailable) as outcome:
                await ask()
            assert outcome.value.retry_after.total_seconds() >= 1
