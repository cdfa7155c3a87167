"""The hot tier: fresh copies of products in a cache that is faster than storage."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from typing_extensions import override

from app.domain.product import CachedProduct, ProductId


class HotLookup(StrEnum):
    """
    The result of a lookup in the hot tier.

    An `error` cost a wait; a `spared` lookup was skipped because others had just failed.
    """

    HIT = "hit"
    MISS = "miss"
    ERROR = "error"
    SPARED = "spared"


class HotProducts(ABC):
    """
    Copies shared by all processes, each for a short time.

    Storage is authoritative. The hot tier may lose anything at any time, answers at once or not at
    all, and never raises. Among the copies it was given, it never returns an older one.
    """

    @abstractmethod
    async def get(self, product_id: ProductId) -> CachedProduct | None:
        """Return a copy, with its product and `fetched_at` alone, if there is one."""

    @abstractmethod
    async def keep(self, copy: CachedProduct, *, until: datetime) -> None:
        """Keep a copy until a moment, unless there is a newer one or it is outdated."""

    @abstractmethod
    async def outdate(self, product_ids: Collection[ProductId], *, before: datetime) -> None:
        """Return no more copies of these products that were fetched before a moment."""


class NullHotProducts(HotProducts):
    """Keeps nothing."""

    @override
    async def get(self, product_id: ProductId) -> CachedProduct | None:
        return None

    @override
    async def keep(self, copy: CachedProduct, *, until: datetime) -> None:
        pass

    @override
    async def outdate(self, product_ids: Collection[ProductId], *, before: datetime) -> None:
        pass
