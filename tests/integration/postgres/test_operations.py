"""The queries and the list of jobs in docs/operations.md are correct."""

import asyncio
import re
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from app.infra.jobs.tasks import JobHandlers
from app.infra.jobs.worker import JobWorker, WorkerOptions
from app.infra.observability.metrics.work import JobMetrics
from tests.integration.service.harness import until

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
LOOKS = re.findall(r"<!-- look: (\w+) -->\n```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(
    "statements", [text for _, text in LOOKS], ids=[name for name, _ in LOOKS]
)
def test_every_query_runs(database_url: str, statements: str) -> None:
    assert len(LOOKS) == 3
    for statement in filter(str.strip, statements.split(";\n")):
        with psycopg.connect(database_url) as connection:
            found = connection.execute(statement.encode())
            assert found.description


async def test_every_job_is_documented() -> None:
    async def nothing(*_: object) -> None:
        pass

    registry = CollectorRegistry()
    worker = JobWorker(
        "postgresql://nobody@127.0.0.1:1/nothing",
        JobHandlers(
            validate_product=nothing,
            refresh_favorited=nothing,
            reconcile_popularity=nothing,
            purge=nothing,
        ),
        WorkerOptions(),
        observe=JobMetrics(registry),
    )

    async def registered() -> set[str]:
        return _tasks(registry)

    run = asyncio.create_task(worker.run())
    # The series exist as soon as the worker runs, even without a database.
    await until(registered, what="the series of the jobs")
    worker.stop()
    await run
    (table,) = re.findall(r"^\| job \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == await registered()


def _tasks(registry: CollectorRegistry) -> set[str]:
    return {
        sample.labels["task"]
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "favorites_job_runs_total"
    }
