"""Lists of favorites: batches, undo, synchronization, popularity and upkeep."""

import logging

import pytest

from app.domain.customer import Customer
from app.domain.favorite import BatchResult, ChangeKind, ChangePosition, FavoriteStatus
from app.domain.outcome import (
    ChangesForgotten,
    CustomerNotFound,
    FavoriteNotFound,
    FavoritesFull,
)
from app.domain.product import Product, ProductId, ProductQuery
from tests import make
from tests.double.service import Service
from tests.unit.application.product_world import begin, turns

BEGINNING = ChangePosition()


async def favorited(service: Service, customer: Customer, *products: Product) -> None:
    service.catalog.put(*products)
    for product in products:
        await service.use_cases.favorite_product(customer_id=customer.id, product_id=product.id)


async def present(service: Service, customer: Customer, *products: Product) -> set[ProductId]:
    _, contained = await service.use_cases.queries.contains(
        customer.id, [product.id for product in products]
    )
    return set(contained)


class TestChangeFavorites:
    async def test_returns_each_result_and_calls_the_catalog_at_most_once(
        self, service: Service
    ) -> None:
        customer = await service.customer()
        here, gone, new, newer = (make.product() for _ in range(4))
        await favorited(service, customer, here, gone)
        service.catalog.put(new, newer)
        calls = service.catalog.calls

        results = await service.use_cases.change_favorites(
            customer_id=customer.id,
            add=[newer.id, here.id, new.id, ProductId(998)],
            remove=[gone.id, ProductId(999)],
        )

        assert results == {
            here.id: BatchResult.ALREADY_PRESENT,
            new.id: BatchResult.ADDED,
            newer.id: BatchResult.ADDED,
            ProductId(998): BatchResult.PRODUCT_NOT_FOUND,
            gone.id: BatchResult.REMOVED,
            ProductId(999): BatchResult.NOT_PRESENT,
        }
        assert service.catalog.calls == calls + 1
        assert await present(service, customer, here, gone, new, newer) == {
            here.id,
            new.id,
            newer.id,
        }

    async def test_makes_no_call_for_known_products(self, service: Service) -> None:
        customer, other = await service.customer(), await service.customer()
        product = make.product()
        await favorited(service, other, product)
        calls = service.catalog.calls
        results = await service.use_cases.change_favorites(
            customer_id=customer.id, add=[product.id], remove=[]
        )
        assert results == {product.id: BatchResult.ADDED}
        assert service.catalog.calls == calls

    async def test_does_not_rely_on_an_older_list(self, service: Service) -> None:
        customer, first, second = await service.customer(), make.product(), make.product()
        service.catalog.put(make.product())
        await service.use_cases.catalog.list_page(ProductQuery())
        service.clock.advance(make.SECOND)
        service.catalog.put(first, second)
        results = await service.use_cases.change_favorites(
            customer_id=customer.id, add=[first.id, second.id], remove=[]
        )
        assert results == {first.id: BatchResult.ADDED, second.id: BatchResult.ADDED}

    async def test_leaves_pending_what_an_earlier_call_did_not_find(
        self, service: Service
    ) -> None:
        customer, new = await service.customer(), make.product()
        service.catalog.hold()
        listing = begin(service.use_cases.catalog.list_page(ProductQuery()))
        await service.catalog.asked.wait()
        service.clock.advance(make.SECOND)
        changing = begin(
            service.use_cases.change_favorites(
                customer_id=customer.id, add=[new.id, ProductId(998)], remove=[]
            )
        )
        await turns()
        service.catalog.put(new)
        service.catalog.release()
        await listing
        assert await changing == {
            new.id: BatchResult.ADDED,
            ProductId(998): BatchResult.PENDING,
        }

    async def test_accepts_pending_favorites_up_to_the_limit(self, service: Service) -> None:
        customer = await service.customer()
        service.catalog.down = True
        add = [ProductId(number) for number in range(1, service.pending_max + 3)]
        results = await service.use_cases.change_favorites(
            customer_id=customer.id, add=add, remove=[]
        )
        assert [results[product_id] for product_id in add] == (
            [BatchResult.PENDING] * service.pending_max + [BatchResult.TOO_MANY_PENDING] * 2
        )
        assert service.storage.jobs == add[: service.pending_max]

    @pytest.mark.parametrize("dry_run", [False, True])
    async def test_stops_adding_when_the_list_is_full(self, *, dry_run: bool) -> None:
        service = Service(favorites_max=2)
        customer = await service.customer()
        first, second, third = (make.product() for _ in range(3))
        await favorited(service, customer, first)
        service.catalog.put(second, third)
        results = await service.use_cases.change_favorites(
            customer_id=customer.id,
            add=[first.id, second.id, third.id],
            remove=[],
            dry_run=dry_run,
        )
        assert list(results.values()) == [
            BatchResult.ALREADY_PRESENT,
            BatchResult.ADDED,
            BatchResult.FAVORITES_FULL,
        ]

    async def test_changes_nothing_in_a_dry_run(self, service: Service) -> None:
        customer, kept, new = await service.customer(), make.product(), make.product()
        await favorited(service, customer, kept)
        service.catalog.put(new)
        before = await service.use_cases.queries.list_version(customer.id)
        results = await service.use_cases.change_favorites(
            customer_id=customer.id, add=[new.id, kept.id], dry_run=True
        )
        assert results == {
            new.id: BatchResult.ADDED,
            kept.id: BatchResult.ALREADY_PRESENT,
        }
        assert await present(service, customer, kept, new) == {kept.id}
        after = await service.use_cases.queries.list_version(customer.id)
        assert after.favorites == before.favorites

    async def test_needs_a_customer(self, service: Service) -> None:
        with pytest.raises(CustomerNotFound):
            await service.use_cases.change_favorites(
                customer_id=make.customer_id(), add=[], remove=[ProductId(1)]
            )


class TestFavoriteProduct:
    async def test_refuses_a_favorite_above_the_limit(self) -> None:
        service = Service(favorites_max=1)
        customer, first, second = await service.customer(), make.product(), make.product()
        await favorited(service, customer, first)
        with pytest.raises(FavoritesFull):
            await favorited(service, customer, second)


class TestRestoreFavorite:
    async def test_undoes_a_removal_within_the_window(self, service: Service) -> None:
        customer, product = await service.customer(), make.product()
        await favorited(service, customer, product)
        of = {"customer_id": customer.id, "product_id": product.id}
        _, before = await service.use_cases.read_favorite(**of)  # type: ignore[arg-type]  # each fits
        service.clock.advance(make.HOUR)
        await service.use_cases.remove_favorite(**of)  # type: ignore[arg-type]  # each fits
        service.clock.advance(10 * make.MINUTE)
        for _ in range(2):
            restored = await service.use_cases.restore_favorite(**of)  # type: ignore[arg-type]  # each fits
            assert restored.favorite == before.favorite

        await service.use_cases.remove_favorite(**of)  # type: ignore[arg-type]  # each fits
        service.clock.advance(10 * make.MINUTE + make.SECOND)
        with pytest.raises(FavoriteNotFound):
            await service.use_cases.restore_favorite(**of)  # type: ignore[arg-type]  # each fits

    async def test_enqueues_the_job_of_a_pending_favorite_again(self, service: Service) -> None:
        customer, product = await service.customer(), make.product()
        service.catalog.down = True
        favorite = service.use_cases.favorite_product
        await favorite(customer_id=customer.id, product_id=product.id)
        await service.use_cases.remove_favorite(customer_id=customer.id, product_id=product.id)
        service.storage.take_jobs()
        restored = await service.use_cases.restore_favorite(
            customer_id=customer.id, product_id=product.id
        )
        assert restored.status is FavoriteStatus.PENDING
        assert service.storage.jobs == [product.id]


class TestReadFavoriteChanges:
    async def test_lets_a_client_synchronize(self, service: Service) -> None:
        customer, first, second = await service.customer(), make.product(), make.product()
        read = service.use_cases.read_favorite_changes
        await favorited(service, customer, first)
        start = await read(customer_id=customer.id, since=BEGINNING, limit=10)
        await favorited(service, customer, second)
        await service.use_cases.remove_favorite(customer_id=customer.id, product_id=first.id)
        found = await read(customer_id=customer.id, since=start.seen, limit=10)
        assert [(change.product_id, change.kind) for change in found.items] == [
            (second.id, ChangeKind.ADDED),
            (first.id, ChangeKind.REMOVED),
        ]

    async def test_reports_once_that_the_catalog_dropped_a_product(self, service: Service) -> None:
        customer, gone, stays = await service.customer(), make.product(), make.product()
        read = service.use_cases.read_favorite_changes
        await favorited(service, customer, gone, stays)
        since = (await read(customer_id=customer.id, since=BEGINNING, limit=10)).seen
        service.catalog.remove(gone.id)
        for _ in range(2):
            service.clock.advance(make.CACHE_POLICY.hard_ttl)
            await service.use_cases.refresh_favorited()
        found = await read(customer_id=customer.id, since=since, limit=10)
        [change] = found.items
        assert (change.product_id, change.kind) == (gone.id, ChangeKind.CHANGED)
        assert change.item is not None
        assert change.item.status is FavoriteStatus.REMOVED
        assert not (await read(customer_id=customer.id, since=found.seen, limit=10)).items

    async def test_needs_a_customer(self, service: Service) -> None:
        with pytest.raises(CustomerNotFound):
            await service.use_cases.read_favorite_changes(
                customer_id=make.customer_id(), since=BEGINNING, limit=10
            )


class TestListPopular:
    async def test_shows_no_small_counts(self, service: Service) -> None:
        one, other = await service.customer(), await service.customer()
        shared, single = make.product(), make.product()
        await favorited(service, one, shared, single)
        await favorited(service, other, shared)
        popular = await service.use_cases.list_popular(limit=10)
        assert [(p.cached.product.id, p.favorites) for p in popular] == [(shared.id, 2)]


class TestUpkeep:
    async def test_forgets_removals_in_two_steps(self, service: Service) -> None:
        customer, product, kept = await service.customer(), make.product(), make.product()
        read = service.use_cases.read_favorite_changes
        await favorited(service, customer, product, kept)
        since = (await read(customer_id=customer.id, since=BEGINNING, limit=10)).seen
        await service.use_cases.remove_favorite(customer_id=customer.id, product_id=product.id)

        service.clock.advance(29 * make.DAY)
        await service.use_cases.purge()
        found = await read(customer_id=customer.id, since=since, limit=10)
        assert [change.kind for change in found.items] == [ChangeKind.REMOVED]

        service.clock.advance(2 * make.DAY)
        await service.use_cases.purge()
        with pytest.raises(ChangesForgotten):
            await read(customer_id=customer.id, since=since, limit=10)

    async def test_does_not_log_correct_counts(
        self, service: Service, caplog: pytest.LogCaptureFixture
    ) -> None:
        await favorited(service, await service.customer(), make.product())
        with caplog.at_level(logging.WARNING):
            await service.use_cases.reconcile_popularity()
        assert not caplog.records
