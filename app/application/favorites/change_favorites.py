import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from app.application.catalog.product_reader import ProductReader, ProductsRead
from app.application.customer_lookup import existing_customer
from app.application.ports import Clock
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
    patience: timedelta

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
        read = await self.products.read_many(add, patience=self.patience)
        if dry_run:
            return await self._rehearse(customer_id, add, remove, read)
        results: dict[ProductId, BatchResult] = {}
        async with self.uow() as work:
            # Locked for all of it, and in the order of products: batches side by side take turns.
            if await work.customers.lock(customer_id) is None:
                raise CustomerNotFound("There is no such customer")
            pending = await work.favorites.count_pending(customer_id)
            for product_id in sorted({*add, *remove}):
                if product_id in remove:
                    removed = await work.favorites.remove(
                        customer_id, product_id, now=self.clock()
                    )
                    result = BatchResult.REMOVED if removed else BatchResult.NOT_PRESENT
                else:
                    result = await self._add(work, customer_id, product_id, read, pending=pending)
                    pending += result is BatchResult.PENDING
                results[product_id] = result
            await work.commit()
        logger.info(
            "favorites_changed",
            extra={
                "customer_id": str(customer_id),
                "added": sum(r in _ADDED for r in results.values()),
                "removed": sum(r is BatchResult.REMOVED for r in results.values()),
            },
        )
        return results

    async def _add(
        self,
        work: UnitOfWork,
        customer_id: CustomerId,
        product_id: ProductId,
        read: ProductsRead,
        *,
        pending: int,
    ) -> BatchResult:
        known = await work.favorites.get(customer_id, product_id)
        if known is not None and known.favorite.rejected_at is None:
            return BatchResult.ALREADY_PRESENT
        if (refusal := self._refusal(product_id, read, pending=pending)) is not None:
            return refusal
        cached = read.known.get(product_id)
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

    def _refusal(
        self, product_id: ProductId, read: ProductsRead, *, pending: int
    ) -> BatchResult | None:
        if product_id in read.known:
            return None
        if product_id not in read.unavailable:
            return BatchResult.PRODUCT_NOT_FOUND
        return BatchResult.TOO_MANY_PENDING if pending >= self.pending_max else None

    async def _rehearse(
        self,
        customer_id: CustomerId,
        add: Collection[ProductId],
        remove: Collection[ProductId],
        read: ProductsRead,
    ) -> Mapping[ProductId, BatchResult]:
        """Tell what would become of each, without writing what others would have to wait for."""
        named = {*add, *remove}
        results: dict[ProductId, BatchResult] = {}
        async with self.uow() as work:
            await existing_customer(work, customer_id)
            present = await work.favorites.contains(customer_id, named)
            size = await work.favorites.count(customer_id)
            pending = await work.favorites.count_pending(customer_id)
            for product_id in sorted(named):
                there = product_id in present
                if product_id in remove:
                    result = BatchResult.REMOVED if there else BatchResult.NOT_PRESENT
                    size -= there
                elif there and not await self._rejected(work, customer_id, product_id, read):
                    result = BatchResult.ALREADY_PRESENT
                elif (refusal := self._refusal(product_id, read, pending=pending)) is not None:
                    result = refusal
                elif not there and size >= self.favorites_max:
                    result = BatchResult.FAVORITES_FULL
                else:
                    known = product_id in read.known
                    result = BatchResult.ADDED if known else BatchResult.PENDING
                    pending += not known
                    size += not there
                results[product_id] = result
        return results

    @staticmethod
    async def _rejected(
        work: UnitOfWork, customer_id: CustomerId, product_id: ProductId, read: ProductsRead
    ) -> bool:
        # What the catalog lists it has hardly rejected: not worth a question for each.
        if product_id in read.known:
            return False
        item = await work.favorites.get(customer_id, product_id)
        return item is not None and item.favorite.rejected_at is not None


_ADDED = {BatchResult.ADDED, BatchResult.PENDING}
