"""
Where log lines go and how they look: one per event, without anything that is nobody's business.

Everything that logs, by structlog or by the standard library, ends here. What a line must not hold
is taken out at this last point, whoever wrote it: values by the names of their fields, and
e-mail addresses, keys, tokens and passwords in URLs wherever they stand in a text, tracebacks
included. Control characters, which could forge lines or steer a terminal, are escaped.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache, partial
from math import isfinite
from typing import Any, Literal, TextIO

import structlog
from pydantic_core import to_json
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

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
    lasting: bool = False,
) -> None:
    """
    Send every log line of this process to a stream (stderr), lines below the level to nobody.

    `ids` returns what else every line carries, such as the trace that it belongs to. May be
    called again: the last call counts, unless an earlier one was meant to be `lasting`, which
    spares loggers asking each time how they are to write.
    """
    stream = sys.stderr if stream is None else stream
    # Plain tracebacks: richer ones show local variables, passwords among them.
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _stamp,
        *([partial(_add, ids)] if ids is not None else []),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(stream)
    if format == "json":
        straight = ids is None and logging.getLevelNamesMapping()[level] <= logging.INFO
        processors.append(_AsJson(_Lines(handler) if straight else None))
    else:
        processors += [_clean, _escape, _console_renderer(colors=stream.isatty())]
    handler.setFormatter(_Formatter(processors))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    # Where in the code a line comes from is not logged: "Optimization" in the library's manual.
    logging._srcfile = None  # noqa: SLF001 - as it says there
    # Not shown on the terminal but logged, as every other line.
    logging.captureWarnings(capture=True)
    structlog.configure(
        # Straight to the stream: by way of the standard library a line costs seven times as much.
        processors=[_begin, *processors],
        logger_factory=partial(_Lines, handler),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=lasting,
    )


class PlainEvents:
    """
    Logs one event that happens all the time, for a third of what a line costs otherwise.

    Names of its fields are known not to be those of secrets, and values to be text, whole and
    finite numbers and None, so that a line is made at once and not step by step; what looks like
    a secret is looked for in it as ever.
    """

    def __init__(self, name: str, event: str) -> None:
        self._logger = structlog.stdlib.get_logger(name)
        self._rest = {"event": event, "logger": name, "level": "info"}

    def __call__(self, fields: Mapping[str, str | float | None], *, request_id: str) -> None:
        """Log the event once more, within a request."""
        last = structlog.get_config()["processors"][-1]
        lines = last.straight if type(last) is _AsJson else None
        if lines is not None:
            event = {**fields, **self._rest, "request_id": request_id}
            line = to_json(_stamp(None, "", event)).decode()
            if _is_harmless(line):
                lines.write(line)
                return
        # As every other line.
        self._logger.info(self._rest["event"], **fields)


class _Lines:
    """What is behind a logger of structlog: finished lines, on the stream of all others."""

    def __init__(self, handler: "logging.StreamHandler[TextIO]", name: str = "") -> None:
        self._handler = handler
        self.name = name

    def write(self, line: str) -> None:
        """Write a line, whole, as soon as it is there."""
        with self._handler.lock or nullcontext():
            try:
                self._handler.stream.write(f"{line}\n")
                self._handler.stream.flush()
            except (OSError, ValueError):
                pass  # Nobody reads any more, which is no reason not to serve.

    debug = info = warning = error = critical = exception = log = write


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


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_FIELD.search(name.replace("-", "_")) is not None


def _cleaned(name: str, value: object, *, depth: int) -> object:
    if value is not None and _is_secret(name):
        return REDACTED
    match value:
        case str():
            return _text(value)
        case None | bool() | int():
            return value
        case float():
            return value if isfinite(value) else str(value)
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
    text = str(value)
    return _SECRET_TEXT.sub(REDACTED, text) if _is_suspicious(text) else text


def _is_suspicious(text: str) -> bool:
    """Tell whether a text may hold a secret: most do not, and this is cheaper than to look."""
    return (
        "aiq_" in text
        or "eyJ" in text
        or "$argon2" in text
        or "@" in text
        or "%40" in text
        or "://" in text
    )


def _begin(lines: _Lines, method: str, event: EventDict) -> EventDict:
    event["logger"] = lines.name
    event["level"] = method
    return event


def _stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    second, microsecond = divmod(time.time_ns() // 1000, 1_000_000)
    event["timestamp"] = f"{_second(second)}.{microsecond:06}Z"
    return event


# Lines of the same second come one after the other.
@lru_cache(maxsize=1)
def _second(since_epoch: int) -> str:
    return datetime.fromtimestamp(since_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class _Formatter(logging.Formatter):
    """Lets the lines of the standard library go through what those of structlog go through."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        super().__init__()
        self._processors = processors

    @override
    def format(self, record: logging.LogRecord) -> str:
        event: Any = {name: v for name, v in record.__dict__.items() if name not in _OF_RECORDS}
        event |= {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
        }
        if record.exc_info:
            event["exc_info"] = record.exc_info
        if record.stack_info:
            event["stack"] = record.stack_info
        for process in self._processors:
            event = process(None, "", event)
        return str(event)


_OF_RECORDS = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})


class _AsJson:
    """The last step of a line; `straight` is where lines go whose other steps may be left out."""

    def __init__(self, straight: _Lines | None) -> None:
        self.straight = straight

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        # Nearly every line is plain, and as a whole it is soon looked at.
        if _names_are_plain(tuple(event)) and _are_plain(event.values()):
            line = to_json(event).decode()
            if _is_harmless(line):
                return line
        return _encode(_clean(logger, method, event))


def _is_harmless(line: str) -> bool:
    """Tell whether there is nothing in a line of JSON to be hidden or escaped."""
    return line.isascii() and not _is_suspicious(line)


def _are_plain(values: Iterable[object]) -> bool:
    """Tell whether values are written as they are, if nothing in their text speaks against it."""
    for value in values:
        kind = type(value)
        if kind is str or kind is int or value is None:
            continue
        if not (isinstance(value, float) and isfinite(value)):
            return False
    return True


@lru_cache(maxsize=1024)
def _names_are_plain(names: tuple[str, ...]) -> bool:
    return not any(name == "color_message" or _is_secret(name) for name in names)


_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode


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
