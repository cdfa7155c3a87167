"""
The command line: `python -m app --help`.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 it could not be done,
2 the command line or the settings are wrong; the reason is one message, never a traceback.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from app.application.use_cases import UseCases
from app.domain.access import ApiKeyId, Scope
from app.domain.customer import Role, checked_name
from app.domain.outcome import DomainError, InvalidValue
from app.infra.dependency import (
    WORKERS_VARIABLE,
    Readiness,
    connection_observer,
    database_url,
    job_worker,
    wire,
)
from app.infra.jobs.outcome import JobNotRetryable
from app.infra.observability.logger import configure_logging
from app.infra.observability.metrics.endpoint import MetricsError, metrics_endpoint
from app.infra.server.connection import ConnectionLimits
from app.infra.server.server import ServeError, ServeOptions, serve_api
from app.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from app.infra.jobs.queue import JobDesk, JobView, Retried

T = TypeVar("T")

USAGE, FAILURE = 2, 1


class JobStatus(StrEnum):
    """What has become of a job."""

    ALL = "all"
    TODO = "todo"
    DOING = "doing"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABORTED = "aborted"


app = typer.Typer(
    help="Favorite products: the service and everything to run it with.",
    epilog="Settings come from the environment and `.env`; see `.env.example`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
api_key = typer.Typer(
    help="API keys of internal systems: make, list and revoke them.", no_args_is_help=True
)
jobs = typer.Typer(
    help="Jobs on the queue: look at them, and run again what failed.", no_args_is_help=True
)
app.add_typer(api_key, name="api-key")
app.add_typer(jobs, name="jobs")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [HOST]")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on.  [PORT]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that serve.  [WORKERS]")
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when the code changes; one process.")
    ] = False,
) -> None:
    """
    Serve the API until SIGTERM or Ctrl-C.

    On SIGTERM it is not ready any more; after DRAIN_DELAY no connection is accepted, requests
    under way are finished (SHUTDOWN_GRACE), and the exit status is 0. A worker process that dies
    is replaced.

    Examples:

    * `python -m app serve`

    * `python -m app serve --host 0.0.0.0 --workers 4`

    * `python -m app serve --reload`
    """
    settings = _settings(quiet=False)
    if reload and (workers or 1) > 1:
        _fail("--reload and --workers exclude each other", status=USAGE)
    options = ServeOptions(
        factory="app.infra.dependency:create_app",
        host=host or settings.host,
        port=port or settings.port,
        workers=1 if reload else workers or settings.workers,
        reload_dir="app" if reload else None,
        grace=settings.shutdown_grace,
        drain=settings.drain_delay,
        limits=ConnectionLimits(
            head=settings.head_timeout,
            body=settings.body_timeout,
            reading=settings.read_timeout,
            keep_alive=settings.keep_alive,
            connections=settings.max_connections,
        ),
        observer=connection_observer,
    )
    # The processes of one server share its cores.
    os.environ[WORKERS_VARIABLE] = str(options.workers)
    shared = reload or options.workers > 1
    with metrics_endpoint(settings.metrics_port, host=options.host, shared=shared):
        serve_api(options)


@app.command()
def migrate() -> None:
    """
    Bring the database's schema to the newest revision; does nothing if it is there.

    Several at once wait for each other. Each revision suits the version of the service before
    it, so migrate first and then replace the running processes.

    Example: `DATABASE_URL=postgresql://user:password@host/favorites python -m app migrate`
    """
    # Not every command pays for what only this one needs.
    from app.infra.postgres.migrate import upgrade

    settings = _settings(quiet=False)
    logging.getLogger("alembic").setLevel(logging.INFO)
    upgrade(database_url(settings))


@app.command()
def worker() -> None:
    """
    Run jobs until SIGTERM or Ctrl-C, on as many machines as you like.

    On SIGTERM no job is begun any more, and those under way are finished (SHUTDOWN_GRACE). What a
    killed worker left behind is run by another.

    Example: `python -m app worker`
    """
    settings = _settings(quiet=False)

    async def work() -> None:
        async with job_worker(settings) as job_runner:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, job_runner.stop)
            await job_runner.run()

    with metrics_endpoint(settings.metrics_port, host=settings.host):
        asyncio.run(work())


@jobs.command("list")
def list_jobs(
    status: Annotated[
        JobStatus, typer.Option(help="Which jobs; `failed` are those that are not tried again.")
    ] = JobStatus.FAILED,
) -> None:
    """
    List jobs, oldest first: by default those that failed for good.

    Examples:

    * `python -m app jobs list`

    * `python -m app jobs list --status all`
    """

    async def read(desk: "JobDesk") -> "Sequence[JobView]":
        return await desk.list_jobs(status=None if status is JobStatus.ALL else status.value)

    rows = []
    for job in _at_desk(read):
        arguments = " ".join(f"{name}={value}" for name, value in job.args.items())
        due = _shown(job.scheduled_at)
        rows.append((str(job.id), job.task, arguments, job.status, str(job.attempts), due))
    _print_table(("id", "task", "arguments", "status", "attempts", "due"), rows)


@jobs.command("retry")
def retry_jobs(
    job_id: Annotated[
        int | None, typer.Argument(metavar="ID", min=1, help="The id, as `list` shows it.")
    ] = None,
    all_failed: Annotated[
        bool, typer.Option("--all", help="Run everything again that failed for good.")
    ] = False,
) -> None:
    """
    Run failed jobs again, as soon as a worker is free.

    One whose work another job waits to do already is removed instead.

    Examples:

    * `python -m app jobs retry 42`

    * `python -m app jobs retry --all`
    """
    if (job_id is None) is not all_failed:
        _fail("Give either the id of a job or --all", status=USAGE)

    async def retry(desk: "JobDesk") -> "Retried":
        return await (desk.retry_all() if job_id is None else desk.retry(job_id))

    retried = _at_desk(retry)
    typer.echo(f"To be run again: {retried.again}")
    if retried.superseded:
        typer.echo(f"Removed, as another job that waits does the same: {retried.superseded}")


@app.command("create-admin")
def create_admin(
    name: Annotated[str, typer.Option(prompt="Name", help="The administrator's name.")],
    email: Annotated[str, typer.Option(prompt="E-mail", help="The address to sign in with.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin: one line.")
    ] = False,
) -> None:
    """
    Create an administrator: somebody who sees and manages every customer.

    The password is asked for, or read from stdin; it is never an argument, which other people on
    the machine could see.

    Examples:

    * `python -m app create-admin --name 'Ana Souza' --email ana@example.com`

    * `python -m app create-admin --name Ana --email ana@example.com --password-stdin < password`
    """
    settings = _settings()
    password = _read_line() if password_stdin else _ask_for_password()
    customer = _run(
        settings,
        lambda use_cases: use_cases.create_customer(
            name=name, email=email, password=password, role=Role.ADMIN
        ),
    )
    typer.echo(customer.id)


@api_key.command("create")
def create_api_key(
    name: Annotated[str, typer.Argument(help="Which system the key is for.")],
    scope: Annotated[
        list[Scope], typer.Option(help="What the key allows; give the option once for each.")
    ],
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days until it expires; never if left out.")
    ] = None,
) -> None:
    """
    Make an API key and print it: this once, since only its hash is stored.

    Examples:

    * `python -m app api-key create crm --scope customers:read --scope favorites:read`

    * `python -m app api-key create import --scope favorites:write --expires-in-days 7`
    """
    lifetime = None if expires_in_days is None else timedelta(days=expires_in_days)
    key = _run(
        _settings(),
        lambda use_cases: use_cases.manage_api_keys.create(
            name=checked_name(name), scopes=frozenset(scope), lifetime=lifetime
        ),
    )
    typer.echo(str(key))
    typer.echo("Keep it now: it is not shown again.", err=True)


@api_key.command("list")
def list_api_keys() -> None:
    """List all API keys, oldest first; their secrets are not known any more."""
    keys = _run(_settings(), lambda use_cases: use_cases.manage_api_keys.list_all())
    now = datetime.now().astimezone()
    rows = []
    for key in keys:
        state = (
            "revoked" if key.revoked_at is not None else "usable" if key.usable(now) else "expired"
        )
        rows.append((
            key.id, key.name, ", ".join(sorted(key.scopes)), _shown(key.created_at),
            _shown(key.expires_at), _shown(key.last_used_at), state,
        ))  # fmt: skip
    columns = ("id", "name", "scopes", "created", "expires", "last used", "state")
    _print_table(columns, rows)


@api_key.command("revoke")
def revoke_api_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id, as `list` shows it.")],
) -> None:
    """
    End an API key at once; tokens it was exchanged for end with it.

    Example: `python -m app api-key revoke 7d3f`
    """
    if not _run(_settings(), lambda use_cases: use_cases.manage_api_keys.revoke(ApiKeyId(key_id))):
        _fail("There is no API key with this id that could be revoked")


def _settings(*, quiet: bool = True) -> Settings:
    """Load the settings and set up logging; commands for people log warnings only."""
    settings = load_settings()
    if settings.database_url is None:
        raise SettingsError(
            "DATABASE_URL: has to be set; `development/start` runs everything with a database of"
            " its own"
        )
    configure_logging(
        format=settings.log_format.value, level="WARNING" if quiet else settings.log_level.value
    )
    return settings


def _run(settings: Settings, work: Callable[[UseCases], Awaitable[T]]) -> T:
    async def wired() -> T:
        readiness = Readiness()
        async with wire(settings, readiness=readiness) as use_cases:
            await readiness()
            return await work(use_cases)

    return asyncio.run(wired())


def _at_desk(work: "Callable[[JobDesk], Awaitable[T]]") -> T:
    # Not every command pays for what only this one needs.
    from app.infra.jobs.queue import job_desk

    settings = _settings()

    async def seated(_: UseCases) -> T:
        async with job_desk(database_url(settings)) as desk:
            return await work(desk)

    return _run(settings, seated)


def _ask_for_password() -> str:
    if not sys.stdin.isatty():
        _fail("There is no terminal to ask for the password: use --password-stdin", status=USAGE)
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _read_line() -> str:
    try:
        return sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        _fail("The password on stdin has to be UTF-8", status=USAGE)


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # What writes tables is a twentieth of the memory and the start of a server, which has none.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        # For programs: a row is a line, however long.
        console.width = 1000
    console.print(table)


def _shown(moment: datetime | None) -> str:
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M")


def _fail(reason: str, *, status: int = FAILURE) -> NoReturn:
    typer.echo(reason, err=True)
    raise typer.Exit(status)


def main() -> None:
    """Run a command; what was to be expected ends in one message and an exit status."""
    try:
        app(prog_name="python -m app")
    except (SettingsError, InvalidValue) as error:
        typer.echo(error, err=True)
        sys.exit(USAGE)
    except (DomainError, ServeError, MetricsError, JobNotRetryable) as error:
        typer.echo(error, err=True)
        sys.exit(FAILURE)
