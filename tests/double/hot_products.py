"""The hot tier in memory."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from typing_extensions import override

from app.application.catalog.hot_products import HotProducts
from app.application.ports import Clock
from app.domain.product import CachedProduct, Product, ProductId

HOT_TTL = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A copy; without a product, a mark that prevents storing older copies."""

    stamp: datetime
    until: datetime
    product: Product | None


class InMemoryHotProducts(HotProducts):
    """Shared by all readers that have it; while `away` it returns and stores nothing."""

    def __init__(self, clock: Clock, *, ttl: timedelta = HOT_TTL) -> None:
        self.away = False
        self._clock = clock
        self._ttl = ttl
        self._held: dict[ProductId, _Held] = {}

    def flush(self) -> None:
        """Remove everything."""
        self._held.clear()

    @override
    async def get(self, product_id: ProductId) -> CachedProduct | None:
        held = self._holds(product_id)
        if held is None or held.product is None:
            return None
        return CachedProduct(product=held.product, fetched_at=held.stamp)

    @override
    async def keep(self, copy: CachedProduct, *, until: datetime) -> None:
        self._put(
            copy.product.id,
            _Held(
                stamp=copy.fetched_at,
                until=min(until, self._clock() + self._ttl),
                product=copy.product,
            ),
        )

    @override
    async def outdate(self, product_ids: Collection[ProductId], *, before: datetime) -> None:
        mark = _Held(stamp=before, until=self._clock() + self._ttl, product=None)
        for product_id in product_ids:
            self._put(product_id, mark)

    def _put(self, product_id: ProductId, new: _Held) -> None:
        held = self._holds(product_id)
        newer = held is not None and (
            held.stamp > new.stamp or (new.product is None and held.stamp == new.stamp)
        )
        if not (self.away or newer or new.until <= self._clock()):
            self._held[product_id] = new

    def _holds(self, product_id: ProductId) -> _Held | None:
        held = None if self.away else self._held.get(product_id)
        return None if held is None or held.until <= self._clock() else held
