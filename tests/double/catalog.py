"""A catalog in memory."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from typing_extensions import override

from app.application.ports import ProductCatalog
from app.domain.outcome import CatalogUnavailable
from app.domain.product import Product, ProductId


class StubCatalog(ProductCatalog):
    """
    Responds with `products`, and records the calls: `found` has the ids, `listed` the number.

    While `down` is set, every call fails. After `hold()`, calls wait until `release()`, and
    respond with the products of that moment. `asked` is set by the first call.
    """

    def __init__(self, *products: Product, retry_after: timedelta = timedelta(seconds=5)) -> None:
        self.products = {product.id: product for product in products}
        self.retry_after = retry_after
        self.down = False
        self.found: list[ProductId] = []
        self.listed = 0
        self.asked = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    @property
    def calls(self) -> int:
        """The number of calls."""
        return len(self.found) + self.listed

    def put(self, *products: Product) -> None:
        """Add products, or change them."""
        self.products.update({product.id: product for product in products})

    def remove(self, product_id: ProductId) -> None:
        """Remove a product, if it exists."""
        self.products.pop(product_id, None)

    def hold(self) -> None:
        """Make calls wait from now on."""
        self._open.clear()

    def release(self) -> None:
        """Let waiting and later calls respond."""
        self._open.set()

    @override
    async def find(self, product_id: ProductId) -> Product | None:
        self.found.append(product_id)
        await self._answer()
        return self.products.get(product_id)

    @override
    async def list_all(self) -> Sequence[Product]:
        self.listed += 1
        await self._answer()
        if not self.products:
            raise CatalogUnavailable("The catalog is empty", retry_after=self.retry_after)
        return list(self.products.values())

    async def _answer(self) -> None:
        self.asked.set()
        await self._open.wait()
        if self.down:
            raise CatalogUnavailable("The catalog is down", retry_after=self.retry_after)
