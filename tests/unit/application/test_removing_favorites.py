"""Removing favorites and restoring them: every outcome of the writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pytest
from typing_extensions import override

from app.application.favorites.remove_favorite import RemoveFavorite
from app.application.favorites.restore_favorite import RestoreFavorite
from app.domain.access import SessionCheck
from app.domain.customer import CustomerId
from app.domain.outcome import (
    CustomerNotFound,
    DomainError,
    FavoriteNotFound,
    FavoritesFull,
    InvalidToken,
)
from app.domain.product import ProductId
from app.domain.writes import FavoriteLimits, RemoveOutcome, RestoreOutcome
from tests import make
from tests.double.favorite_writes import InMemoryFavoriteWrites
from tests.unit.application.favorites_world import FavoritesWorld
from tests.unit.application.product_world import FIVE

PRODUCT = make.product(id=5)
WINDOW = 10 * make.MINUTE


@dataclass(frozen=True)
class OneOutcome(InMemoryFavoriteWrites):
    """Changes nothing, and returns one outcome."""

    removed: RemoveOutcome = RemoveOutcome.ABSENT
    restored: RestoreOutcome = RestoreOutcome.PRESENT

    @override
    async def remove(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        now: datetime,
        session: SessionCheck | None = None,
    ) -> RemoveOutcome:
        return self.removed

    @override
    async def restore(
        self,
        customer_id: CustomerId,
        product_id: ProductId,
        *,
        removed_since: datetime,
        limits: FavoriteLimits,
    ) -> RestoreOutcome:
        return self.restored


def restoring(
    world: FavoritesWorld,
    *,
    favorites: InMemoryFavoriteWrites | None = None,
    limits: FavoriteLimits = make.LIMITS,
) -> RestoreFavorite:
    return RestoreFavorite(
        queries=world.queries,
        favorites=favorites or world.writes,
        clock=world.clock,
        window=WINDOW,
        limits=limits,
    )


class TestRemoveFavorite:
    async def test_verifies_the_session_at_the_time_of_the_removal(self) -> None:
        world = FavoritesWorld(PRODUCT)
        customer, other = await world.customer(), await world.session(await world.customer())
        await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        remove = RemoveFavorite(favorites=world.writes, clock=world.clock)
        with pytest.raises(InvalidToken):
            await remove(customer_id=customer.id, product_id=FIVE, session=world.check(other))
        assert len(await world.stored(customer)) == 1
        world.clock.advance(make.MINUTE)
        session = world.check(await world.session(customer))
        await remove(customer_id=customer.id, product_id=FIVE, session=session)
        records = await world.queries.find_records(customer.id)
        assert records is not None
        [removed] = records.removed_favorites
        assert (removed.product_id, removed.removed_at) == (FIVE, world.clock())

    async def test_needs_a_customer(self) -> None:
        world = FavoritesWorld()
        remove = RemoveFavorite(favorites=world.writes, clock=world.clock)
        with pytest.raises(CustomerNotFound):
            await remove(customer_id=make.customer_id(), product_id=FIVE)


class TestRestoreFavorite:
    async def test_keeps_the_original_time_until_the_window_ends(self) -> None:
        world = FavoritesWorld(PRODUCT)
        customer = await world.customer()
        of: Mapping[str, object] = {"customer_id": customer.id, "product_id": FIVE}
        first = await world.favorite_product(**of)  # type: ignore[arg-type]  # each fits
        remove = RemoveFavorite(favorites=world.writes, clock=world.clock)
        for waited in (make.SECOND, WINDOW):
            world.clock.advance(make.SECOND)
            await remove(**of)  # type: ignore[arg-type]  # each fits
            world.clock.advance(waited)
            restored = await restoring(world)(**of)  # type: ignore[arg-type]  # each fits
            assert restored.favorite == first.item.favorite
        await remove(**of)  # type: ignore[arg-type]  # each fits
        world.clock.advance(WINDOW + make.SECOND / 1_000_000)
        with pytest.raises(FavoriteNotFound):
            await restoring(world)(**of)  # type: ignore[arg-type]  # each fits

    async def test_refuses_if_the_list_is_full(self) -> None:
        world = FavoritesWorld(PRODUCT, make.product(id=6))
        customer = await world.customer()
        await world.favorite_product(customer_id=customer.id, product_id=FIVE)
        await world.writes.remove(customer.id, FIVE, now=world.clock())
        await world.favorite_product(customer_id=customer.id, product_id=ProductId(6))
        full = restoring(world, limits=FavoriteLimits(total=1, pending=1))
        with pytest.raises(FavoritesFull):
            await full(customer_id=customer.id, product_id=FIVE)

    @pytest.mark.parametrize(
        ("outcome", "error"),
        [
            (RestoreOutcome.FULL, FavoritesFull),
            (RestoreOutcome.NOT_RESTORABLE, FavoriteNotFound),
            (RestoreOutcome.NO_CUSTOMER, FavoriteNotFound),
            # Removed again before it could be read.
            (RestoreOutcome.RESTORED, FavoriteNotFound),
            (RestoreOutcome.PRESENT, FavoriteNotFound),
        ],
    )
    async def test_fails_by_the_outcome_of_the_write(
        self, outcome: RestoreOutcome, error: type[DomainError]
    ) -> None:
        world = FavoritesWorld()
        customer = await world.customer()
        restore = restoring(world, favorites=OneOutcome(world.storage, restored=outcome))
        with pytest.raises(error) as raised:
            await restore(customer_id=customer.id, product_id=FIVE)
        assert str(raised.value) not in {"", "None"}
