from decimal import Decimal

import pytest

from app.domain.favorite import (
    ChangePosition,
    Favorite,
    FavoriteItem,
    FavoriteStatus,
    Snapshot,
)
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


class TestFavorite:
    def test_is_made_now_with_the_product_as_it_is(self) -> None:
        customer_id = make.customer_id()
        favorite = Favorite.of(customer_id, COPY.product.id, COPY, now=NOW)
        assert favorite == Favorite(
            customer_id=customer_id,
            product_id=COPY.product.id,
            favorited_at=NOW,
            when_favorited=Snapshot.of(COPY.product),
        )
        assert not favorite.pending

    def test_is_pending_without_a_copy_of_the_product(self) -> None:
        favorite = Favorite.of(make.customer_id(), make.product_id(), None, now=NOW)
        assert (favorite.favorited_at, favorite.when_favorited) == (NOW, None)
        assert favorite.pending

    def test_is_not_pending_once_it_was_rejected(self) -> None:
        assert not make.favorite(when_favorited=None, rejected_at=NOW).pending


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
    def test_has_the_exact_change_of_the_price(self, then: str, now: str, change: str) -> None:
        item = make.favorite_item(
            favorite=make.favorite(when_favorited=make.snapshot(price=then)),
            cached=make.cached_product(product=make.product(price=now)),
        )
        assert str(item.price_change) == change

    def test_has_no_change_of_an_unknown_price(self) -> None:
        pending = make.favorite(when_favorited=None)
        assert make.favorite_item(favorite=pending, cached=COPY).price_change is None
        assert make.favorite_item(favorite=make.favorite()).price_change is None


class TestSnapshot:
    def test_keeps_title_price_image_and_rating(self) -> None:
        product = make.product(title="Ring", price="9.99", image="https://catalog.test/r.jpg")
        assert Snapshot.of(product) == Snapshot(
            title="Ring",
            price=Decimal("9.99"),
            image="https://catalog.test/r.jpg",
            rating=product.rating,
        )


class TestChangePosition:
    @pytest.mark.parametrize(
        ("position", "from_beginning"),
        [
            (ChangePosition(), True),
            (ChangePosition(version=1), False),
            (ChangePosition(version=7, product_id=5), False),
            (ChangePosition(version=7, product_id=5, began=1), True),
            (ChangePosition(version=7, product_id=5, began=9), True),
        ],
    )
    def test_tells_whether_the_list_is_read_from_the_beginning(
        self, position: ChangePosition, *, from_beginning: bool
    ) -> None:
        assert position.from_beginning is from_beginning

    def test_is_ordered_by_version_and_then_by_product(self) -> None:
        assert ChangePosition(1, 9) < ChangePosition(2, 1) < ChangePosition(2, 2)
