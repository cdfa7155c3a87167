"""`python -m app worker`."""

import asyncio
import signal

from app.command_line.common import prepare
from app.infra.dependency import job_worker
from app.infra.observability.metrics.endpoint import metrics_endpoint


def worker() -> None:
    """
    Run jobs until SIGTERM or Ctrl-C; any number of workers may run, on any number of machines.

    After SIGTERM no new job starts, and running jobs may finish (SHUTDOWN_GRACE). Another worker
    reruns the jobs of a killed one.

    Example: `python -m app worker`
    """
    settings = prepare(quiet=False)

    async def work() -> None:
        async with job_worker(settings) as job_runner:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, job_runner.stop)
            await job_runner.run()

    with metrics_endpoint(settings.metrics_port, host=settings.host):
        asyncio.run(work())
