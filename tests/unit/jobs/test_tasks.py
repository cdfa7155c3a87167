import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import procrastinate
import pytest
from procrastinate.testing import InMemoryConnector

from app.domain.outcome import StorageUnavailable
from app.infra.jobs.tasks import JobHandlers, register_tasks
from tests import make


async def nothing(*_: object) -> None:
    pass


async def fail() -> None:
    raise StorageUnavailable("Gone", retry_after=make.SECOND)


HANDLERS = JobHandlers(
    validate_product=nothing,
    refresh_favorited=nothing,
    reconcile_popularity=nothing,
    purge=nothing,
)


def create_app(handlers: JobHandlers) -> procrastinate.App:
    app = procrastinate.App(connector=InMemoryConnector())
    register_tasks(
        app, handlers, lease=timedelta(seconds=15), dead_letters_kept=timedelta(days=30)
    )
    return app


@pytest.mark.parametrize(
    ("task", "event", "handlers"),
    [
        (
            "refresh_favorited",
            "refresh_favorited_failed",
            replace(HANDLERS, refresh_favorited=fail),
        ),
        (
            "reconcile_popularity",
            "reconcile_popularity_failed",
            replace(HANDLERS, reconcile_popularity=fail),
        ),
        ("purge", "purge_failed", replace(HANDLERS, purge=fail)),
    ],
)
async def test_a_failed_periodic_job_is_logged_and_not_a_dead_letter(
    task: str, event: str, handlers: JobHandlers, caplog: pytest.LogCaptureFixture
) -> None:
    run: Callable[..., Awaitable[None]] = create_app(handlers).tasks[task].func
    await run(timestamp=0)
    [line] = [line for line in caplog.records if line.name.startswith("app.")]
    assert (line.message, line.levelno) == (event, logging.WARNING)
    assert vars(line)["reason"] == "storage_unavailable"
