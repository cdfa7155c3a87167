"""Favorites: which product a customer marked, when, and how the product was then."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Self

from app.domain.customer import CustomerId
from app.domain.page import DEFAULT_LIMIT, Position
from app.domain.product import CachedProduct, Product, ProductId, Rating


class FavoriteStatus(StrEnum):
    """
    The state of a favorite's product.

    `pending`: accepted while the catalog could not be asked. `removed`: the catalog dropped the
    product, or said that a pending one does not exist.
    """

    AVAILABLE = "available"
    PENDING = "pending"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A product as it was when a customer favorited it."""

    title: str
    price: Decimal
    image: str
    rating: Rating | None

    @classmethod
    def of(cls, product: Product) -> Self:
        """Take the members of a product that a favorite keeps."""
        return cls(
            title=product.title, price=product.price, image=product.image, rating=product.rating
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Favorite:
    """
    A product that a customer marked.

    `when_favorited` is None until the catalog has confirmed the product; `rejected_at` is the
    moment at which it answered that there is no such product.
    """

    customer_id: CustomerId
    product_id: ProductId
    favorited_at: datetime
    when_favorited: Snapshot | None = None
    rejected_at: datetime | None = None

    @classmethod
    def of(
        cls,
        customer_id: CustomerId,
        product_id: ProductId,
        product: CachedProduct | None,
        *,
        now: datetime,
    ) -> Self:
        """Create a favorite now; without a copy of the product it is pending."""
        return cls(
            customer_id=customer_id,
            product_id=product_id,
            favorited_at=now,
            when_favorited=None if product is None else Snapshot.of(product.product),
        )

    @property
    def pending(self) -> bool:
        """Whether the catalog has neither confirmed nor rejected the product yet."""
        return self.when_favorited is None and self.rejected_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteItem:
    """A favorite with the last known copy of its product: an item of a list."""

    favorite: Favorite
    cached: CachedProduct | None

    @property
    def status(self) -> FavoriteStatus:
        """Whether the product is available, not confirmed yet, or removed."""
        if self.reason is not None:
            return FavoriteStatus.REMOVED
        if self.favorite.pending or self.cached is None:
            return FavoriteStatus.PENDING
        return FavoriteStatus.AVAILABLE

    @property
    def reason(self) -> str | None:
        """Why the product is removed, as a stable word; None unless it is."""
        if self.favorite.rejected_at is not None:
            return "not_in_catalog"
        return "dropped_by_catalog" if self.cached and self.cached.removed else None

    @property
    def price_change(self) -> Decimal | None:
        """The price now minus the price when favorited; None if either is unknown."""
        if self.cached is None or self.favorite.when_favorited is None:
            return None
        return self.cached.product.price - self.favorite.when_favorited.price


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVersion:
    """
    The state that answers about a list depend on, as numbers that only grow.

    `favorites` counts the changes of one customer's list, `catalog` the changes of products in the
    catalog. While both are the same, so is every answer that shows the list.
    """

    favorites: int
    catalog: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedFavorite:
    """The removal of a favorite, remembered for clients that synchronize later."""

    product_id: ProductId
    removed_at: datetime


class ChangeKind(StrEnum):
    """What happened to a favorite since a client last synchronized."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteChange:
    """A change of one favorite; `item` is its current state, None if it was removed."""

    product_id: ProductId
    kind: ChangeKind
    item: FavoriteItem | None


@dataclass(frozen=True, slots=True, order=True)
class ChangePosition:
    """
    How much of a list's history a client has seen: up to a version, and in it up to a product.

    While a client reads the list from the beginning, in several steps, `began` is the version at
    the first of them: earlier removals are left out.
    """

    version: int = 0
    product_id: int = 0
    began: int = 0

    @property
    def from_beginning(self) -> bool:
        """Whether the current list is read, and not the changes since an earlier one."""
        return self.version == 0 or self.began > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """
    Changes in the order in which they happened, each favorite at most once, in its current state.

    `seen` is the position to continue from; `more` tells that there are more changes already, and
    `behind` that the catalog changed products of the list since the last entry of its history.
    """

    items: Sequence[FavoriteChange]
    seen: ChangePosition
    more: bool
    behind: bool = False


class BatchResult(StrEnum):
    """The result for one product of a batch."""

    ADDED = "added"
    ALREADY_PRESENT = "already_present"
    PENDING = "pending"
    PRODUCT_NOT_FOUND = "product_not_found"
    REMOVED = "removed"
    NOT_PRESENT = "not_present"
    FAVORITES_FULL = "favorites_full"
    TOO_MANY_PENDING = "too_many_pending"


class FavoriteSort(StrEnum):
    """The orders of a list of favorites; a leading minus means descending."""

    NEWEST = "-favorited_at"
    OLDEST = "favorited_at"
    CHEAPEST = "price"
    DEAREST = "-price"
    TITLE = "title"


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteQuery:
    """Which favorites of a customer to list; `q` is a part of the title, case aside."""

    customer_id: CustomerId
    category: str | None = None
    q: str | None = None
    sort: FavoriteSort = FavoriteSort.NEWEST
    limit: int = DEFAULT_LIMIT
    after: Position | None = None
