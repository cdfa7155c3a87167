from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from app.domain.product import CachedProduct, PopularProduct
from app.domain.repository import PopularityRepository
from tests.double.storage_table import Transaction


@dataclass(frozen=True, slots=True)
class InMemoryPopularityRepository(PopularityRepository):
    """Counts when it is asked, so that no count can be wrong."""

    _transaction: Transaction

    @override
    async def list_popular(self, *, at_least: int, limit: int) -> Sequence[PopularProduct]:
        tables = self._transaction.tables
        counts = Counter(product_id for _, product_id in tables.favorites)
        popular = [
            PopularProduct(cached=cached, favorites=count)
            for product_id, count in counts.items()
            if count >= at_least
            and isinstance(cached := tables.products.get(product_id), CachedProduct)
            and not cached.removed
        ]
        popular.sort(key=lambda p: (p.favorites, p.cached.product.id), reverse=True)
        return popular[:limit]

    @override
    async def reconcile(self) -> int:
        assert self._transaction.tables is not None
        return 0
