import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from app.application.catalog.product_reader import ProductReader
from app.application.ports import Clock
from app.domain.customer import CustomerId
from app.domain.favorite import BatchResult, Favorite
from app.domain.product import ProductId
from app.domain.writes import AddOutcome, FavoriteLimits, FavoriteWrites, RemoveOutcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFavorites:
    """
    Add and remove several favorites in one transaction.

    A product that cannot be added does not affect the others. The catalog is called at most once
    for all products that are not known.
    """

    favorites: FavoriteWrites
    products: ProductReader
    clock: Clock
    limits: FavoriteLimits
    patience: timedelta

    async def __call__(
        self,
        *,
        customer_id: CustomerId,
        add: Collection[ProductId],
        remove: Collection[ProductId] = (),
        dry_run: bool = False,
    ) -> Mapping[ProductId, BatchResult]:
        """
        Return the result for each product; no product is both added and removed.

        With `dry_run`, which is for additions, nothing is changed and nothing is locked.

        :raises CustomerNotFound: if there is no such customer
        """
        read = await self.products.read_many(add, patience=self.patience)
        now = self.clock()
        favorites = {
            product_id: Favorite.of(customer_id, product_id, read.known.get(product_id), now=now)
            if product_id in read.known or product_id in read.unavailable
            else None
            for product_id in add
        }
        outcomes = await self.favorites.change(
            customer_id,
            add=favorites,
            remove=remove,
            now=now,
            limits=self.limits,
            dry_run=dry_run,
        )
        results = {
            product_id: _result(outcome, favorites.get(product_id))
            for product_id, outcome in outcomes.items()
        }
        if not dry_run:
            logger.info(
                "favorites_changed",
                extra={
                    "customer_id": str(customer_id),
                    "added": sum(outcome is AddOutcome.ADDED for outcome in outcomes.values()),
                    "removed": sum(
                        outcome is RemoveOutcome.REMOVED for outcome in outcomes.values()
                    ),
                },
            )
        return results


def _result(outcome: AddOutcome | RemoveOutcome, favorite: Favorite | None) -> BatchResult:
    if outcome is AddOutcome.ADDED and favorite is not None and favorite.pending:
        return BatchResult.PENDING
    return _RESULTS[outcome]


_RESULTS: Mapping[AddOutcome | RemoveOutcome, BatchResult] = {
    AddOutcome.ADDED: BatchResult.ADDED,
    AddOutcome.PRESENT: BatchResult.ALREADY_PRESENT,
    AddOutcome.FULL: BatchResult.FAVORITES_FULL,
    AddOutcome.TOO_MANY_PENDING: BatchResult.TOO_MANY_PENDING,
    AddOutcome.NO_PRODUCT: BatchResult.PRODUCT_NOT_FOUND,
    RemoveOutcome.REMOVED: BatchResult.REMOVED,
    RemoveOutcome.ABSENT: BatchResult.NOT_PRESENT,
}
