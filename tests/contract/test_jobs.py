from collections.abc import Awaitable, Callable, Sequence

from app.domain.job import Job, ValidateProduct
from app.domain.repository import UnitOfWorkFactory
from tests import make
from tests.contract.step import do, side_by_side

WaitingJobs = Callable[[], Awaitable[Sequence[Job]]]


def job() -> Job:
    return ValidateProduct(product_id=make.product_id())


class TestJobs:
    async def test_wait_once_their_unit_is_committed(
        self, uow: UnitOfWorkFactory, waiting_jobs: WaitingJobs
    ) -> None:
        first, second = job(), job()
        await do(uow, lambda work: work.jobs.enqueue(first))
        await do(uow, lambda work: work.jobs.enqueue(second))
        assert await waiting_jobs() == [first, second]

    async def test_do_not_wait_before_the_commit(
        self, uow: UnitOfWorkFactory, waiting_jobs: WaitingJobs
    ) -> None:
        async with uow() as work:
            await work.jobs.enqueue(job())
            assert await waiting_jobs() == []

    async def test_are_dropped_with_their_unit(
        self, uow: UnitOfWorkFactory, waiting_jobs: WaitingJobs
    ) -> None:
        async with uow() as work:
            await work.jobs.enqueue(job())
        assert await waiting_jobs() == []

    async def test_are_not_asked_for_twice_while_they_wait(
        self, uow: UnitOfWorkFactory, waiting_jobs: WaitingJobs
    ) -> None:
        wanted = job()
        await do(uow, lambda work: work.jobs.enqueue(wanted))
        await do(uow, lambda work: work.jobs.enqueue(wanted))
        assert await waiting_jobs() == [wanted]

    async def test_are_not_asked_for_twice_in_one_unit(
        self, uow: UnitOfWorkFactory, waiting_jobs: WaitingJobs
    ) -> None:
        wanted = job()
        await do(
            uow, lambda work: work.jobs.enqueue(wanted), lambda work: work.jobs.enqueue(wanted)
        )
        assert await waiting_jobs() == [wanted]

    async def test_leave_the_unit_usable_when_one_waits_already(
        self, uow: UnitOfWorkFactory, waiting_jobs: WaitingJobs
    ) -> None:
        wanted, customer = job(), make.customer()
        await do(uow, lambda work: work.jobs.enqueue(wanted))
        async with uow() as work:
            await work.customers.add(customer)
            await work.jobs.enqueue(wanted)
            assert await work.customers.get(customer.id) == customer
            await work.commit()
        async with uow() as work:
            assert await work.customers.get(customer.id) == customer
        assert await waiting_jobs() == [wanted]

    async def test_are_asked_for_once_by_units_side_by_side(
        self, uow: UnitOfWorkFactory, waiting_jobs: WaitingJobs
    ) -> None:
        wanted = job()
        assert await side_by_side(4, uow, lambda work: work.jobs.enqueue(wanted)) == [None] * 4
        assert await waiting_jobs() == [wanted]
