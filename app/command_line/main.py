"""
The command line: `python -m app --help`.

Results go to stdout, everything else to stderr. Exit status: 0 success, 1 failure, 2 invalid
arguments or settings. An expected failure prints one message and no traceback.
"""

import sys

import typer

from app.command_line.api_keys import api_key
from app.command_line.common import FAILURE, USAGE
from app.command_line.create_admin import create_admin
from app.command_line.jobs import jobs
from app.command_line.migrate import migrate
from app.command_line.serve import serve
from app.command_line.worker import worker
from app.domain.outcome import DomainError, InvalidValue
from app.infra.jobs.outcome import JobNotRetryable
from app.infra.observability.metrics.endpoint import MetricsError
from app.infra.server.serve import ServeError
from app.settings import SettingsError

app = typer.Typer(
    help="Favorite products: run and manage the service.",
    epilog="Settings come from the environment and `.env`; see `.env.example`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(serve)
app.command()(migrate)
app.command()(worker)
app.command("create-admin")(create_admin)
app.add_typer(api_key, name="api-key")
app.add_typer(jobs, name="jobs")


def main() -> None:
    """Run a command, and turn an expected failure into one message and an exit status."""
    try:
        app(prog_name="python -m app")
    except (SettingsError, InvalidValue) as error:
        typer.echo(error, err=True)
        sys.exit(USAGE)
    except (DomainError, ServeError, MetricsError, JobNotRetryable) as error:
        typer.echo(error, err=True)
        sys.exit(FAILURE)
