from app.domain.favorite import FavoriteQuery, FavoriteStatus
from tests import make
from tests.double.service import PASSWORD, Service


class TestRefreshFavorited:
    async def test_makes_one_call_for_all_before_a_copy_expires(self, service: Service) -> None:
        customer = await service.customer()
        products = [make.product() for _ in range(5)]
        service.catalog.put(*products)
        for product in products:
            await service.use_cases.favorite_product(
                customer_id=customer.id, product_id=product.id
            )
        assert not await service.use_cases.refresh_favorited()

        service.clock.advance(make.CACHE_POLICY.hard_ttl / 2 + make.SECOND)
        calls = service.catalog.calls
        assert await service.use_cases.refresh_favorited()
        assert service.catalog.calls == calls + 1
        assert not await service.use_cases.refresh_favorited()

    async def test_marks_a_product_that_two_lists_leave_out(self, service: Service) -> None:
        customer, gone, stays = await service.customer(), make.product(), make.product()
        service.catalog.put(gone, stays)
        await service.use_cases.favorite_product(customer_id=customer.id, product_id=gone.id)
        service.catalog.remove(gone.id)
        seen = []
        for _ in range(2):
            service.clock.advance(make.CACHE_POLICY.hard_ttl)
            await service.use_cases.refresh_favorited()
            _, page = await service.use_cases.list_favorites(
                FavoriteQuery(customer_id=customer.id)
            )
            assert page is not None
            seen.append(page.items[0].status)
        assert seen == [FavoriteStatus.AVAILABLE, FavoriteStatus.REMOVED]


class TestPurge:
    async def test_erases_sessions_that_ended_long_ago(self, service: Service) -> None:
        customer = await service.customer()
        await service.use_cases.sign_in(
            email=customer.email.value, password=PASSWORD, ip="192.0.2.7", device=""
        )
        service.clock.advance(make.SESSION_POLICY.idle + 29 * make.DAY)
        await service.use_cases.purge()
        export = await service.use_cases.export_customer(customer_id=customer.id)
        assert len(export.records.sessions) == 1
        service.clock.advance(2 * make.DAY)
        await service.use_cases.purge()
        export = await service.use_cases.export_customer(customer_id=customer.id)
        assert export.records.sessions == []
