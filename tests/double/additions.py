from dataclasses import dataclass

from typing_extensions import override

from app.domain.favorite import Favorite
from app.domain.outcome import CustomerNotFound, FavoritesFull
from app.domain.repository import Additions, UnitOfWorkFactory


@dataclass(frozen=True, slots=True)
class UnitAdditions(Additions):
    """Additions by a unit of work each; those that are no success are left to others."""

    uow: UnitOfWorkFactory

    @override
    async def add(self, favorite: Favorite, *, at_most: int) -> bool | None:
        async with self.uow() as work:
            version = await work.favorites.version(favorite.customer_id)
            item = await work.favorites.get(favorite.customer_id, favorite.product_id)
            if item is not None:
                return None if item.favorite.rejected_at is not None else False
            if favorite.when_favorited is None or version.favorites == 0:
                return None
            try:
                added = await work.favorites.put(favorite, at_most=at_most)
            except (CustomerNotFound, FavoritesFull):
                return None
            await work.commit()
            return added
