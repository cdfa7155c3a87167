"""The bulkhead."""

import asyncio

import pytest

from app.infra.fakestore.bulkhead import Bulkhead
from app.infra.fakestore.failure import BulkheadFull


def _bulkhead(*, queue_timeout_s: float = 60) -> Bulkhead:
    return Bulkhead(slots=2, max_queued=1, queue_timeout_s=queue_timeout_s)


async def _settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestBulkhead:
    async def test_refuses_at_once_if_the_queue_is_full(self) -> None:
        bulkhead = _bulkhead()
        async with bulkhead, bulkhead:
            queued = asyncio.create_task(bulkhead.__aenter__())
            await _settle()
            with pytest.raises(BulkheadFull):
                await bulkhead.__aenter__()
            queued.cancel()
            await asyncio.gather(queued, return_exceptions=True)

    async def test_refuses_after_the_queue_timeout(self) -> None:
        bulkhead = _bulkhead(queue_timeout_s=0.01)
        async with bulkhead, bulkhead:
            with pytest.raises(BulkheadFull):
                await bulkhead.__aenter__()

    async def test_gives_a_free_slot_to_a_waiting_caller(self) -> None:
        bulkhead = _bulkhead()
        async with bulkhead:
            async with bulkhead:
                queued = asyncio.create_task(bulkhead.__aenter__())
                await _settle()
                assert not queued.done()
            await queued
        await bulkhead.__aexit__(None, None, None)

    async def test_loses_no_slot_when_callers_are_canceled(self) -> None:
        bulkhead = Bulkhead(slots=2, max_queued=1_000, queue_timeout_s=60)

        async def hold() -> None:
            async with bulkhead:
                await asyncio.Event().wait()

        tasks = [asyncio.create_task(hold()) for _ in range(1_000)]
        await _settle()
        for task in tasks:
            task.cancel()
            if task is tasks[500]:
                await _settle()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5), bulkhead, bulkhead:
            pass
