"""
Where log lines go and how they look: one per event, without anything that is nobody's business.

Everything that logs, by structlog or by the standard library, ends here. What a line must not hold
is taken out at this last point, whoever wrote it: values by the names of their fields, and
e-mail addresses, keys, tokens and passwords in URLs wherever they stand in a text, tracebacks
included. Control characters, which could forge lines or steer a terminal, are escaped.
"""

import logging
import math
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

_SECRET_FIELD = re.compile(
    r"password|passwd|token(?!_type)|authorization|cookie|secret|e_?mail|api_?key(?!_id)",
    re.IGNORECASE,
)
# Each alternative begins where no longer match could have begun, so that hostile text costs no
# more than its length.
_SECRET_TEXT = re.compile(
    r"aiq_[A-Za-z0-9]{1,32}_[0-9A-Fa-f]{8,}"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}"
    r"|\$argon2[\w$=,+/-]+"
    r"|(?<=://)[^\s/@'\"]{1,512}(?=@)"
    r"|(?<![\w.+%-])[\w.+-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
)
# C0 but tab and line feed, DEL, C1, line and paragraph separators, and what turns writing around.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LINE_BREAK = re.compile("[\t\n]")
_DEPTH_MAX = 6

# Chatter, or lines that would hold what we must not log (statements, URLs, arguments).
_QUIET = {
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpcore2": logging.WARNING,
    "httpx2": logging.WARNING,
    # What it says again and again is said once by our own line.
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
    ids: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """
    Send every log line of this process to a stream (stderr), lines below the level to nobody.

    `ids` returns what else every line carries, such as the trace that it belongs to. May be
    called again: the last call counts.
    """
    stream = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([partial(_add, ids)] if ids is not None else []),
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        # Plain tracebacks: richer ones show local variables, passwords among them.
        structlog.processors.format_exc_info,
        _clean,
    ]
    if format == "json":
        last.append(structlog.processors.JSONRenderer(ensure_ascii=True, allow_nan=False))
    else:
        last += [_escape, _console_renderer(colors=stream.isatty())]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    # Not shown on the terminal but logged, as every other line.
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _console_renderer(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=32
    )


def _add(
    ids: Callable[[], Mapping[str, str]], _logger: WrappedLogger, _method: str, event: EventDict
) -> EventDict:
    event.update(ids())
    return event


def _clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)  # uvicorn's copy of the message, with colors
    return {name: _cleaned(name, value, depth=0) for name, value in event.items()}


def _cleaned(name: str, value: object, *, depth: int) -> object:
    if value is not None and _SECRET_FIELD.search(name.replace("-", "_")):
        return REDACTED
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping() if depth < _DEPTH_MAX:
            return {
                _text(key): _cleaned(str(key), item, depth=depth + 1)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < _DEPTH_MAX:
            return [_cleaned("", item, depth=depth + 1) for item in value]
        case _:
            return _text(value)


def _text(value: object) -> str:
    return _SECRET_TEXT.sub(REDACTED, str(value))


def _escape(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    # A traceback has many lines; everything else has one.
    return {
        name: _escaped(value, one_line=name not in {"exception", "stack"})
        for name, value in event.items()
    }


def _escaped(value: object, *, one_line: bool = True) -> object:
    match value:
        case str():
            shown = _CONTROL.sub(_code, value)
            return _LINE_BREAK.sub(_code, shown) if one_line else shown
        case dict():
            return {_escaped(key): _escaped(item) for key, item in value.items()}
        case list():
            return [_escaped(item) for item in value]
        case _:
            return value


def _code(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
