import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

from app.application.catalog.product_reader import ProductReader
from app.application.ports import Clock
from app.domain.access import SessionCheck, session_ended
from app.domain.customer import CustomerId
from app.domain.favorite import Favorite, FavoriteItem
from app.domain.outcome import (
    CatalogUnavailable,
    CustomerNotFound,
    FavoritesFull,
    ProductNotFound,
    TooManyPending,
)
from app.domain.product import CachedProduct, ProductId, UnknownProduct
from app.domain.queries import Queries
from app.domain.writes import AddOutcome, FavoriteLimits, FavoriteWrites

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteAdded:
    """The favorite in its current state, and whether this call added it."""

    item: FavoriteItem
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteProduct:
    """
    Mark a product of the catalog as a customer's favorite.

    While the catalog cannot be asked about an unknown product, or does not respond within
    `patience`, the favorite is accepted as pending; `limits.pending` bounds how many are.
    """

    queries: Queries
    favorites: FavoriteWrites
    products: ProductReader
    clock: Clock
    limits: FavoriteLimits
    patience: timedelta

    async def __call__(
        self,
        *,
        customer_id: CustomerId,
        product_id: ProductId,
        session: SessionCheck | None = None,
    ) -> FavoriteAdded:
        """
        Add the product to the customer's favorites; a second time changes nothing.

        :raises InvalidToken: if the session is not valid
        :raises ProductNotFound: if the catalog does not list it
        :raises CustomerNotFound: if there is no such customer
        :raises FavoritesFull: if the customer has the maximum of favorites
        :raises TooManyPending: if it had to wait for the catalog, and too many do already
        """
        seen = self.products.last_seen(product_id)
        if seen is not None:
            # The usual case: one statement verifies that the product is unchanged, and adds it.
            added = await self._add(customer_id, product_id, seen, seen=seen, session=session)
            if added is not None:
                self.products.note_hit()
                return added
        found = await self.queries.find_favorite(customer_id, product_id, session=session)
        if found.item is not None and found.item.favorite.rejected_at is None:
            return FavoriteAdded(item=found.item, created=False)
        product = await self._read(product_id, found.product)
        added = await self._add(customer_id, product_id, product, session=session)
        if added is None:
            raise RuntimeError("A product that was not to be verified has changed")
        return added

    async def _add(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        product: CachedProduct | None,
        *,
        seen: CachedProduct | None = None,
        session: SessionCheck | None,
    ) -> FavoriteAdded | None:
        """Add a favorite; return None if its product is not the one `seen` any more."""
        favorite = Favorite.of(customer_id, product_id, product, now=self.clock())
        result = await self.favorites.add(favorite, limits=self.limits, seen=seen, session=session)
        match result.outcome:
            case AddOutcome.ADDED:
                item = FavoriteItem(favorite=favorite, cached=product)
                _log(item)
                return FavoriteAdded(item=item, created=True)
            case AddOutcome.PRESENT:
                item = FavoriteItem(favorite=result.favorite or favorite, cached=product)
                return FavoriteAdded(item=item, created=False)
            case AddOutcome.PRODUCT_CHANGED:
                return None
            case AddOutcome.FULL:
                raise FavoritesFull("The list of favorites is full")
            case AddOutcome.TOO_MANY_PENDING:
                raise TooManyPending(
                    "Too many favorites wait for the catalog already; try again later"
                )
            case AddOutcome.NO_CUSTOMER:
                raise CustomerNotFound
            case AddOutcome.SESSION_ENDED:
                raise session_ended()
            case AddOutcome.NO_PRODUCT:
                raise ProductNotFound(f"The catalog does not list product {product_id}")

    async def _read(
        self, product_id: ProductId, known: CachedProduct | UnknownProduct | None
    ) -> CachedProduct | None:
        """Return the product; None if the catalog does not answer in time whether it exists."""
        try:
            # The call goes on beyond the timeout, and the job finds its result.
            async with asyncio.timeout(self.patience.total_seconds()):
                return (await self.products.read_from(product_id, known)).cached
        except (CatalogUnavailable, TimeoutError):
            return None


def _log(item: FavoriteItem) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug(
            "product_favorited",
            extra={
                "customer_id": str(item.favorite.customer_id),
                "product_id": item.favorite.product_id,
                "status": item.status.value,
            },
        )
