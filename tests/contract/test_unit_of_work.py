import pytest

from app.domain.queries import Queries
from app.domain.repository import UnitOfWorkFactory
from app.domain.throttle import Attempt, ThrottleRule
from app.domain.writes import FavoriteWrites, SignInWrites
from tests import make
from tests.contract.favorites import add, listed, stored_customer, stored_session
from tests.contract.step import do, see
from tests.make import MINUTE, NOW


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

    async def test_covers_every_repository(
        self,
        uow: UnitOfWorkFactory,
        queries: Queries,
        favorite_writes: FavoriteWrites,
        sign_in_writes: SignInWrites,
    ) -> None:
        customer = await stored_customer(uow)
        session = await stored_session(sign_in_writes, customer)
        waits = make.favorite(customer_id=customer.id, when_favorited=None)
        await add(favorite_writes, waits)
        new, key, product = make.customer(), make.api_key(), make.product()
        token, throttle = make.refresh_token(session_id=session.id), make.throttle_key()
        once = ThrottleRule(limit=1, window=MINUTE)
        async with uow() as work:
            await work.customers.add(new)
            await work.sessions.save(session.ended(NOW))
            await work.sessions.add_token(token)
            await work.api_keys.add(key)
            await work.products.store([product], asked_at=NOW)
            assert await work.favorites.reject(waits.product_id, now=NOW) == 1
            await work.throttles.take(throttle, once, now=NOW)
        assert await queries.find_customer(new.id) is None
        assert await queries.list_sessions(customer.id, now=NOW) == [session]
        assert await see(uow, lambda work: work.sessions.lock_family(token.hash)) is None
        assert await queries.find_api_key(key.id) is None
        assert await queries.find_product(product.id) is None
        assert await listed(queries, customer.id) == [waits]
        async with uow() as work:
            assert isinstance(await work.throttles.take(throttle, once, now=NOW), Attempt)
