from dataclasses import dataclass

from typing_extensions import override

from app.domain.access import SessionClaim
from app.domain.favorite import Favorite, KeptFavorite
from app.domain.outcome import CustomerNotFound, FavoritesFull
from app.domain.product import CachedProduct
from app.domain.repository import Additions, UnitOfWorkFactory
from tests.double.lookups import holds


@dataclass(frozen=True, slots=True)
class UnitAdditions(Additions):
    """Additions by a unit of work each; those that are no success are left to others."""

    uow: UnitOfWorkFactory

    @override
    async def add(
        self,
        favorite: Favorite,
        *,
        at_most: int,
        seen: CachedProduct | None = None,
        claim: SessionClaim | None = None,
    ) -> KeptFavorite | None:
        customer_id, product_id = favorite.customer_id, favorite.product_id
        async with self.uow() as work:
            version = await work.favorites.version(customer_id)
            if (
                favorite.when_favorited is None
                or version.favorites == 0
                or (seen is not None and await work.products.get(product_id) != seen)
                or not await holds(work, customer_id, claim)
            ):
                return None
            item = await work.favorites.get(customer_id, product_id)
            if item is not None:
                stored = item.favorite
                return None if stored.rejected_at else KeptFavorite(favorite=stored, created=False)
            try:
                added = await work.favorites.put(favorite, at_most=at_most)
            except (CustomerNotFound, FavoritesFull):
                return None
            await work.commit()
            return KeptFavorite(favorite=favorite, created=True) if added else None
