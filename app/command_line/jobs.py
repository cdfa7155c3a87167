"""`python -m app jobs`."""

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from app.application.build import UseCases
from app.command_line.common import USAGE, fail, format_time, prepare, print_table, run
from app.infra.dependency import database_url

if TYPE_CHECKING:
    from app.infra.jobs.queue import JobAdmin, JobView, RetryResult

T = TypeVar("T")


class JobStatus(StrEnum):
    """The status of a job in the queue."""

    ALL = "all"
    TODO = "todo"
    DOING = "doing"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABORTED = "aborted"


jobs = typer.Typer(help="List the jobs in the queue and retry failed ones.", no_args_is_help=True)


@jobs.command("list")
def list_jobs(
    status: Annotated[
        JobStatus, typer.Option(help="Which jobs; `failed` jobs are not retried automatically.")
    ] = JobStatus.FAILED,
) -> None:
    """
    List jobs, oldest first; by default the dead letters: jobs that failed permanently.

    Examples:

    * `python -m app jobs list`

    * `python -m app jobs list --status all`
    """

    async def read(admin: "JobAdmin") -> "Sequence[JobView]":
        return await admin.list_jobs(status=None if status is JobStatus.ALL else status.value)

    print_table(
        ("id", "task", "arguments", "status", "attempts", "due"),
        [
            (
                str(job.id),
                job.task,
                " ".join(f"{name}={value}" for name, value in job.args.items()),
                job.status,
                str(job.attempts),
                format_time(job.scheduled_at),
            )
            for job in _run_on_queue(read)
        ],
    )


@jobs.command("retry")
def retry_jobs(
    job_id: Annotated[
        int | None, typer.Argument(metavar="ID", min=1, help="The ID that `list` shows.")
    ] = None,
    all_failed: Annotated[
        bool, typer.Option("--all", help="Retry every job that failed permanently.")
    ] = False,
) -> None:
    """
    Retry failed jobs as soon as a worker is free.

    A failed job is removed instead if another job that does the same work is already waiting.

    Examples:

    * `python -m app jobs retry 42`

    * `python -m app jobs retry --all`
    """
    if (job_id is None) is not all_failed:
        fail("Give either the ID of a job or --all", status=USAGE)

    async def retry(admin: "JobAdmin") -> "RetryResult":
        return await (admin.retry_all() if job_id is None else admin.retry(job_id))

    retried = _run_on_queue(retry)
    typer.echo(f"Queued again: {retried.queued}")
    if retried.superseded:
        typer.echo(f"Removed, because an equal job is already waiting: {retried.superseded}")


def _run_on_queue(work: "Callable[[JobAdmin], Awaitable[T]]") -> T:
    # Only these commands need the job queue's library.
    from app.infra.jobs.queue import open_job_admin

    settings = prepare()

    async def run_on_queue(_: UseCases) -> T:
        async with open_job_admin(database_url(settings)) as admin:
            return await work(admin)

    # Wired although it uses no use case: this checks the schema first.
    return run(settings, run_on_queue)
