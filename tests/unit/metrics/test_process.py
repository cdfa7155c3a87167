import asyncio
from datetime import timedelta

from prometheus_client import CollectorRegistry

from app.infra.observability.metrics.process import Metrics, Sampler


class TestSampler:
    async def test_copies_values_until_it_is_left(self) -> None:
        registry = CollectorRegistry()
        queue = Metrics(registry).hashing_queue
        read_again = asyncio.Event()
        readings = iter(range(3, 1_000_000))

        def read() -> float:
            value = next(readings)
            if value > 3:
                read_again.set()
            return value

        async with Sampler({queue: read}, every=timedelta(0)):
            assert registry.get_sample_value("favorites_hashing_queue_depth") == 3
            await read_again.wait()
        last = registry.get_sample_value("favorites_hashing_queue_depth")
        assert last is not None
        assert last > 3
        await asyncio.sleep(0)
        assert registry.get_sample_value("favorites_hashing_queue_depth") == last
