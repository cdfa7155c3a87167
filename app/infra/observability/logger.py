"""
The process's logging: one line per event, without secrets and personal data.

Events of structlog and of the standard library end in the same stream and pass the same
processors. Redaction is the last step, so that it covers every logger.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TextIO

import structlog
from pydantic_core import to_json
from structlog.typing import Processor

from app.infra.observability.log_line import (
    JsonRenderer,
    LineWriter,
    StandardFormatter,
    add_fields,
    add_origin,
    add_timestamp,
    console_renderer,
    is_harmless,
)
from app.infra.observability.redaction import escape, redact

# Too verbose, or with content that must not be logged: statements, URLs, arguments.
_LEVELS = {
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpcore2": logging.WARNING,
    "httpx2": logging.WARNING,
    # `trace_collector_lost` reports once what the exporter repeats for every batch.
    "opentelemetry.exporter": logging.CRITICAL,
    "procrastinate": logging.WARNING,
    "psycopg": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "urllib3": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
}


def configure_logging(
    *,
    format: Literal["console", "json"],
    level: str,
    stream: TextIO | None = None,
    extra_fields: Callable[[], Mapping[str, str]] | None = None,
    lasting: bool = False,
) -> None:
    """
    Write the log of this process to a stream (stderr by default), from a level upwards.

    `extra_fields` returns fields for every line, such as the ids of the current trace. A later
    call replaces an earlier one unless that was `lasting`, which lets loggers cache the
    configuration.
    """
    stream = sys.stderr if stream is None else stream
    # Plain tracebacks: structlog's rich ones show local variables, which may be passwords.
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_timestamp,
        *([partial(add_fields, extra_fields)] if extra_fields is not None else []),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(stream)
    if format == "json":
        plain = extra_fields is None and logging.getLevelNamesMapping()[level] <= logging.INFO
        processors.append(JsonRenderer(LineWriter(handler) if plain else None))
    else:
        processors += [redact, escape, console_renderer(colors=stream.isatty())]
    handler.setFormatter(StandardFormatter(processors))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, minimum in _LEVELS.items():
        logging.getLogger(name).setLevel(max(minimum, root.level))
    # Skips looking for the caller's file and line, which are not logged ("Optimization" in the
    # library's documentation).
    logging._srcfile = None  # noqa: SLF001 - documented there
    logging.captureWarnings(capture=True)
    structlog.configure(
        # Without the standard library in between, a line costs a seventh.
        processors=[add_origin, *processors],
        logger_factory=partial(LineWriter, handler),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=lasting,
    )


class PlainEvents:
    """
    Logs one frequent event for a third of the usual cost.

    The caller guarantees that no field's name is that of a secret and that all values are text,
    integers, finite floats or None, so one encoding step makes the line. The finished line is
    still searched for secrets.
    """

    def __init__(self, name: str, event: str) -> None:
        self._logger = structlog.stdlib.get_logger(name)
        self._constant = {"event": event, "logger": name, "level": "info"}

    def __call__(self, fields: Mapping[str, str | float | None], *, request_id: str) -> None:
        """Log the event within a request."""
        renderer = structlog.get_config()["processors"][-1]
        writer = renderer.fast_path if type(renderer) is JsonRenderer else None
        if writer is not None:
            event = {**fields, **self._constant, "request_id": request_id}
            line = to_json(add_timestamp(None, "", event)).decode()
            if is_harmless(line):
                writer.write(line)
                return
        self._logger.info(self._constant["event"], **fields)
