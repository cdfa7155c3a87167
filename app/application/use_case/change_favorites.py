import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.application.gateway import Clock
from app.application.product_reader import ProductReader, ProductsRead
from app.domain.customer import CustomerId
from app.domain.favorite import BatchResult, Favorite, Snapshot
from app.domain.job import ValidateProduct
from app.domain.outcome import CustomerNotFound, FavoritesFull
from app.domain.product import ProductId
from app.domain.repository import UnitOfWork, UnitOfWorkFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFavorites:
    """
    Add and remove several favorites at once.

    All of it in one transaction; products that cannot be added spoil nothing for the others. The
    catalog is asked at most once, for all that are not known.
    """

    uow: UnitOfWorkFactory
    products: ProductReader
    clock: Clock
    favorites_max: int
    pending_max: int

    async def __call__(
        self,
        *,
        customer_id: CustomerId,
        add: Collection[ProductId],
        remove: Collection[ProductId],
        dry_run: bool = False,
    ) -> Mapping[ProductId, BatchResult]:
        """
        Return what became of each product; no product is both added and removed.

        With `dry_run` nothing is changed, and nobody else has to wait for their changes.

        :raises CustomerNotFound: if there is no such customer
        """
        read = await self.products.read_many(add)
        results: dict[ProductId, BatchResult] = {}
        async with self.uow() as work:
            # Locked for all of it, and in the order of products: batches side by side take turns.
            if await work.customers.lock(customer_id) is None:
                raise CustomerNotFound("There is no such customer")
            pending = await work.favorites.count_pending(customer_id)
            # Only a rehearsal has to know: otherwise each favorite is counted as it is put.
            size = await work.favorites.count(customer_id) if dry_run else None
            for product_id in sorted({*add, *remove}):
                if product_id in remove:
                    result = await self._remove(work, customer_id, product_id, dry_run=dry_run)
                else:
                    result = await self._add(
                        work,
                        customer_id,
                        product_id,
                        read,
                        room=self.pending_max - pending,
                        size=size,
                    )
                    pending += result is BatchResult.PENDING
                if size is not None:
                    size += (result in _ADDED) - (result is BatchResult.REMOVED)
                results[product_id] = result
            if not dry_run:
                await work.commit()
        if not dry_run:
            logger.info(
                "favorites_changed",
                extra={
                    "customer_id": str(customer_id),
                    "added": sum(r in _ADDED for r in results.values()),
                    "removed": sum(r is BatchResult.REMOVED for r in results.values()),
                },
            )
        return results

    async def _remove(
        self,
        work: UnitOfWork,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        dry_run: bool,
    ) -> BatchResult:
        if dry_run:
            removed = bool(await work.favorites.contains(customer_id, [product_id]))
        else:
            removed = await work.favorites.remove(customer_id, product_id, now=self.clock())
        return BatchResult.REMOVED if removed else BatchResult.NOT_PRESENT

    async def _add(
        self,
        work: UnitOfWork,
        customer_id: CustomerId,
        product_id: ProductId,
        read: ProductsRead,
        *,
        room: int,
        size: int | None,
    ) -> BatchResult:
        known = await work.favorites.get(customer_id, product_id)
        if known is not None and known.favorite.rejected_at is None:
            return BatchResult.ALREADY_PRESENT
        cached = read.known.get(product_id)
        if cached is None:
            if product_id not in read.unavailable:
                return BatchResult.PRODUCT_NOT_FOUND
            if room <= 0:
                return BatchResult.TOO_MANY_PENDING
        if size is not None:
            # One that takes the place of a rejected favorite needs no room.
            if known is None and size >= self.favorites_max:
                return BatchResult.FAVORITES_FULL
            return BatchResult.PENDING if cached is None else BatchResult.ADDED
        favorite = Favorite(
            customer_id=customer_id,
            product_id=product_id,
            favorited_at=self.clock(),
            when_favorited=None if cached is None else Snapshot.of(cached.product),
        )
        try:
            added = await work.favorites.put(favorite, at_most=self.favorites_max)
        except FavoritesFull:
            return BatchResult.FAVORITES_FULL
        if not added:
            return BatchResult.ALREADY_PRESENT
        if cached is None:
            await work.jobs.enqueue(ValidateProduct(product_id=product_id))
            return BatchResult.PENDING
        return BatchResult.ADDED


_ADDED = {BatchResult.ADDED, BatchResult.PENDING}
