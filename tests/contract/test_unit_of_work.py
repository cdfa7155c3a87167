import pytest

from app.domain.repository import UnitOfWorkFactory
from tests import make
from tests.contract.step import do, see


class TestUnitOfWork:
    async def test_keeps_what_was_committed(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()
        async with uow() as work:
            await work.customers.add(customer)
            await work.commit()
        assert await see(uow, lambda work: work.customers.get(customer.id)) == customer

    async def test_drops_what_was_not_committed(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()
        async with uow() as work:
            await work.customers.add(customer)
        assert await see(uow, lambda work: work.customers.get(customer.id)) is None

    async def test_drops_what_came_before_an_error(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()

        async def fail() -> None:
            async with uow() as work:
                await work.customers.add(customer)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await see(uow, lambda work: work.customers.get(customer.id)) is None

    async def test_keeps_what_was_committed_before_an_error(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()

        async def fail() -> None:
            async with uow() as work:
                await work.customers.add(customer)
                await work.commit()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert await see(uow, lambda work: work.customers.get(customer.id)) == customer

    async def test_drops_what_came_after_the_commit(self, uow: UnitOfWorkFactory) -> None:
        first, second = make.customer(), make.customer()
        async with uow() as work:
            await work.customers.add(first)
            await work.commit()
            await work.customers.add(second)
        assert await see(uow, lambda work: work.customers.get(first.id)) == first
        assert await see(uow, lambda work: work.customers.get(second.id)) is None

    async def test_sees_its_own_changes(self, uow: UnitOfWorkFactory) -> None:
        customer = make.customer()
        async with uow() as work:
            await work.customers.add(customer)
            assert await work.customers.get(customer.id) == customer
            assert await work.customers.remove(customer.id)
            assert await work.customers.get(customer.id) is None

    async def test_does_not_see_what_another_has_not_committed(
        self, uow: UnitOfWorkFactory
    ) -> None:
        customer = make.customer()
        async with uow() as work:
            await work.customers.add(customer)
            assert await see(uow, lambda work: work.customers.get(customer.id)) is None

    async def test_leaves_alone_what_another_committed_meanwhile(
        self, uow: UnitOfWorkFactory
    ) -> None:
        one, other = make.customer(), make.customer()
        async with uow() as slow:
            await slow.customers.add(one)
            await do(uow, lambda quick: quick.customers.add(other))
            await slow.commit()
        assert await see(uow, lambda work: work.customers.get(one.id)) == one
        assert await see(uow, lambda work: work.customers.get(other.id)) == other

    async def test_undoes_only_its_own_changes(self, uow: UnitOfWorkFactory) -> None:
        one, other = make.customer(), make.customer()
        async with uow() as abandoned:
            await abandoned.customers.add(one)
            await do(uow, lambda quick: quick.customers.add(other))
        assert await see(uow, lambda work: work.customers.get(one.id)) is None
        assert await see(uow, lambda work: work.customers.get(other.id)) == other

    async def test_covers_every_repository(self, uow: UnitOfWorkFactory) -> None:
        customer, key, product = make.customer(), make.api_key(), make.product()
        session = make.session(customer_id=customer.id)
        favorite = make.favorite(customer_id=customer.id, product_id=product.id)
        async with uow() as work:
            await work.customers.add(customer)
            await work.sessions.add(session, make.refresh_token(session_id=session.id))
            await work.api_keys.add(key)
            await work.products.store([product], asked_at=make.NOW)
            await work.favorites.put(favorite, at_most=make.PLENTY)
        async with uow() as work:
            assert await work.customers.get(customer.id) is None
            assert await work.sessions.get(session.id) is None
            assert await work.api_keys.get(key.id) is None
            assert await work.products.get(product.id) is None
            assert await work.favorites.get(customer.id, product.id) is None
