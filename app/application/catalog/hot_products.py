"""The hot tier: young copies of products where they are quicker to have than from storage."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from typing_extensions import override

from app.domain.product import CachedProduct, ProductId


class HotLookup(StrEnum):
    """
    What became of asking the hot tier.

    An `error` cost somebody a wait; whoever was `spared` did not ask, as others had just failed.
    """

    HIT = "hit"
    MISS = "miss"
    ERROR = "error"
    SPARED = "spared"


class HotProducts(ABC):
    """
    Copies that all processes share, each for a short time.

    Storage has the truth. This may forget anything at any time, answers at once or not at all, and
    never raises. Of what has been told to it while it could be reached, it never gives out the
    older.
    """

    @abstractmethod
    async def get(self, product_id: ProductId) -> CachedProduct | None:
        """Return a copy, if there is one; of the row it tells the product and `fetched_at`."""

    @abstractmethod
    async def keep(self, copy: CachedProduct, *, until: datetime) -> None:
        """Hold a copy, no longer than `until`, unless there is a newer one or it is outdated."""

    @abstractmethod
    async def outdate(self, product_ids: Collection[ProductId], *, before: datetime) -> None:
        """Give out no more copies of these products that were fetched before a moment."""


class NullHotProducts(HotProducts):
    """Holds nothing."""

    @override
    async def get(self, product_id: ProductId) -> CachedProduct | None:
        return None

    @override
    async def keep(self, copy: CachedProduct, *, until: datetime) -> None:
        pass

    @override
    async def outdate(self, product_ids: Collection[ProductId], *, before: datetime) -> None:
        pass
