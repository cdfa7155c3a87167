"""`python -m app serve`."""

import os
from typing import Annotated

import typer

from app.command_line.common import USAGE, fail, prepare
from app.infra.dependency import WORKERS_VARIABLE, connection_observer
from app.infra.http.refusal import write_refusal
from app.infra.observability.metrics.endpoint import metrics_endpoint
from app.infra.server.config import ServeOptions
from app.infra.server.limits import ConnectionLimits
from app.infra.server.serve import serve_api


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [HOST]")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on.  [PORT]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Number of API processes.  [WORKERS]")
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart when the code changes; one process.")
    ] = False,
) -> None:
    """
    Serve the API until SIGTERM or Ctrl-C.

    After SIGTERM the service is not ready. After DRAIN_DELAY it accepts no connections, finishes
    the requests in progress (SHUTDOWN_GRACE), and exits with status 0. A process that dies is
    replaced.

    Examples:

    * `python -m app serve`

    * `python -m app serve --host 0.0.0.0 --workers 4`

    * `python -m app serve --reload`
    """
    settings = prepare(quiet=False)
    if reload and (workers or 1) > 1:
        fail("--reload and --workers are mutually exclusive", status=USAGE)
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
        refuse=write_refusal,
    )
    # The processes of one server share its cores.
    os.environ[WORKERS_VARIABLE] = str(options.workers)
    shared = reload or options.workers > 1
    with metrics_endpoint(settings.metrics_port, host=options.host, shared=shared):
        serve_api(options)
