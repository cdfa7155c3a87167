from decimal import Decimal

import pytest

from app.domain.favorite import FavoriteItem, FavoriteStatus, Snapshot
from app.domain.product import CachedProduct
from tests import make
from tests.make import NOW

AVAILABLE, PENDING, REMOVED = (
    FavoriteStatus.AVAILABLE,
    FavoriteStatus.PENDING,
    FavoriteStatus.REMOVED,
)
COPY = make.cached_product()
MISSING = make.cached_product(missing_since=NOW)
DROPPED = make.cached_product(missing_since=NOW, removed_at=NOW)


class TestFavoriteItem:
    @pytest.mark.parametrize(
        ("confirmed", "rejected", "cached", "status", "reason"),
        [
            (True, False, COPY, AVAILABLE, None),
            (True, False, MISSING, AVAILABLE, None),
            (True, False, DROPPED, REMOVED, "dropped_by_catalog"),
            (True, False, None, PENDING, None),
            (False, False, None, PENDING, None),
            (False, False, COPY, PENDING, None),
            (False, True, None, REMOVED, "not_in_catalog"),
            (False, True, COPY, REMOVED, "not_in_catalog"),
        ],
    )
    def test_has_a_status_and_a_reason(
        self,
        *,
        confirmed: bool,
        rejected: bool,
        cached: CachedProduct | None,
        status: FavoriteStatus,
        reason: str | None,
    ) -> None:
        item = FavoriteItem(
            favorite=make.favorite(
                when_favorited=make.snapshot() if confirmed else None,
                rejected_at=NOW if rejected else None,
            ),
            cached=cached,
        )
        assert item.status is status
        assert item.reason == reason

    @pytest.mark.parametrize(
        ("then", "now", "change"),
        [("699.00", "695.00", "-4.00"), ("0.10", "0.30", "0.20"), ("5.00", "5.00", "0.00")],
    )
    def test_tells_exactly_what_the_price_gained(self, then: str, now: str, change: str) -> None:
        item = make.favorite_item(
            favorite=make.favorite(when_favorited=make.snapshot(price=then)),
            cached=make.cached_product(product=make.product(price=now)),
        )
        assert str(item.price_change) == change

    def test_tells_no_change_of_a_price_it_does_not_know(self) -> None:
        pending = make.favorite(when_favorited=None)
        assert make.favorite_item(favorite=pending, cached=COPY).price_change is None
        assert make.favorite_item(favorite=make.favorite()).price_change is None


class TestSnapshot:
    def test_keeps_what_a_customer_remembers(self) -> None:
        product = make.product(title="Ring", price="9.99", image="https://catalog.test/r.jpg")
        assert Snapshot.of(product) == Snapshot(
            title="Ring",
            price=Decimal("9.99"),
            image="https://catalog.test/r.jpg",
            rating=product.rating,
        )
