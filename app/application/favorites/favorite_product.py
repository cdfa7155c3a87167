import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

from app.application.catalog.product_reader import ProductReader
from app.application.ports import Clock
from app.domain.access import SessionClaim
from app.domain.customer import CustomerId
from app.domain.favorite import Favorite, FavoriteItem, KeptFavorite, Snapshot
from app.domain.job import ValidateProduct
from app.domain.outcome import CatalogUnavailable, CustomerNotFound, TooManyPending
from app.domain.product import CachedProduct, ProductId, UnknownProduct
from app.domain.repository import Additions, Lookups, UnitOfWork, UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Favorited:
    """The favorite as it is now, and whether this call made it."""

    item: FavoriteItem
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FavoriteProduct:
    """
    Mark a product of the catalog as a customer's favorite.

    While the catalog cannot be asked about a product that is not known, or does not answer within
    `patience`, the favorite is accepted and waits; at most `pending_max` of a customer's do.
    """

    uow: UnitOfWorkFactory
    lookups: Lookups
    additions: Additions
    products: ProductReader
    clock: Clock
    favorites_max: int
    pending_max: int
    patience: timedelta

    async def __call__(
        self, *, customer_id: CustomerId, product_id: ProductId, claim: SessionClaim | None = None
    ) -> Favorited:
        """
        Add the product to the customer's favorites; a second time changes nothing.

        :raises InvalidToken: if there is a `claim` that does not hold
        :raises ProductNotFound: if the catalog does not list it
        :raises CustomerNotFound: if there is no such customer
        :raises FavoritesFull: if the customer has as many favorites as there may be
        :raises TooManyPending: if it had to wait and too many of the customer's do already
        """
        favorited = await self._accept_as_seen(customer_id, product_id, claim)
        if favorited is not None:
            return favorited
        present, product = await self.lookups.find_favorite(customer_id, product_id, claim=claim)
        if present is not None and present.favorite.rejected_at is None:
            return Favorited(item=present, created=False)
        cached = await self._read(product_id, product)
        if cached is None:
            return await self._accept_for_later(customer_id, product_id)
        favorite = self._confirmed(customer_id, cached)
        added = await self.additions.add(favorite, at_most=self.favorites_max)
        if added is not None:
            return _favorited(added, cached)
        async with self.uow() as work:
            return await self._put(work, favorite, cached)

    async def _accept_as_seen(
        self, customer_id: CustomerId, product_id: ProductId, claim: SessionClaim | None
    ) -> Favorited | None:
        """Add by one look what mostly is as it was seen last; None if it was not that simple."""
        seen = self.products.fresh(self.lookups.recall_product(product_id))
        if seen is None:
            return None
        favorite = self._confirmed(customer_id, seen)
        added = await self.additions.add(
            favorite, at_most=self.favorites_max, seen=seen, claim=claim
        )
        if added is None:
            return None
        self.products.note_hit()
        return _favorited(added, seen)

    def _confirmed(self, customer_id: CustomerId, cached: CachedProduct) -> Favorite:
        return Favorite(
            customer_id=customer_id,
            product_id=cached.product.id,
            favorited_at=self.clock(),
            when_favorited=Snapshot.of(cached.product),
        )

    async def _read(
        self, product_id: ProductId, known: CachedProduct | UnknownProduct | None
    ) -> CachedProduct | None:
        """Return the product; None if the catalog does not say in time whether there is one."""
        if (cached := self.products.fresh(known)) is not None:
            self.products.note_hit()
            return cached
        try:
            # What is asked goes on when we stop waiting, and the job finds the answer.
            async with asyncio.timeout(self.patience.total_seconds()):
                return (await self.products.read_from(product_id, known)).cached
        except (CatalogUnavailable, TimeoutError):
            return None

    async def _accept_for_later(self, customer_id: CustomerId, product_id: ProductId) -> Favorited:
        async with self.uow() as work:
            # Locked, so that favorites side by side cannot exceed the bound together.
            if await work.customers.lock(customer_id) is None:
                raise CustomerNotFound("There is no such customer")
            if await work.favorites.count_pending(customer_id) >= self.pending_max:
                raise TooManyPending(
                    "Too many favorites wait for the catalog already; try again later"
                )
            favorite = Favorite(
                customer_id=customer_id, product_id=product_id, favorited_at=self.clock()
            )
            return await self._put(work, favorite, None)

    async def _put(
        self, work: UnitOfWork, favorite: Favorite, cached: CachedProduct | None
    ) -> Favorited:
        created = await work.favorites.put(favorite, at_most=self.favorites_max)
        if not created:
            # Somebody was faster; their favorite is the one that counts.
            stored = await work.favorites.get(favorite.customer_id, favorite.product_id)
            await work.commit()
            item = stored or FavoriteItem(favorite=favorite, cached=cached)
            return Favorited(item=item, created=False)
        if cached is None:
            await work.jobs.enqueue(ValidateProduct(product_id=favorite.product_id))
        await work.commit()
        return _favorited(KeptFavorite(favorite=favorite, created=True), cached)


def _favorited(kept: KeptFavorite, cached: CachedProduct | None) -> Favorited:
    favorite = kept.favorite
    item = FavoriteItem(favorite=favorite, cached=cached)
    # What nobody reads need not be made.
    if kept.created and logger.isEnabledFor(logging.DEBUG):
        logger.debug(
            "product_favorited",
            extra={
                "customer_id": str(favorite.customer_id),
                "product_id": favorite.product_id,
                "status": item.status.value,
            },
        )
    return Favorited(item=item, created=kept.created)
