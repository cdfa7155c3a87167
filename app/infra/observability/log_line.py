"""How a log event becomes a line: the steps of structlog's and the standard library's events."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, TextIO

import structlog
from pydantic_core import to_json
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

from app.infra.observability.redaction import is_secret, may_contain_secret, redact


class LineWriter:
    """The logger behind structlog's: writes finished lines to the stream of a handler."""

    def __init__(self, handler: "logging.StreamHandler[TextIO]", name: str = "") -> None:
        self._handler = handler
        self.name = name

    def write(self, line: str) -> None:
        """Write one line and flush."""
        with self._handler.lock or nullcontext():
            try:
                self._handler.stream.write(f"{line}\n")
                self._handler.stream.flush()
            except (OSError, ValueError):
                pass  # The reader closed the stream. The service goes on without a log.

    debug = info = warning = error = critical = exception = log = write


class StandardFormatter(logging.Formatter):
    """Passes records of the standard library through the same processors as structlog's events."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        super().__init__()
        self._processors = processors

    @override
    def format(self, record: logging.LogRecord) -> str:
        event: Any = {
            name: value for name, value in record.__dict__.items() if name not in _RECORD_FIELDS
        }
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


_RECORD_FIELDS = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})


class JsonRenderer:
    """
    The last processor: renders an event as one line of JSON without secrets.

    `fast_path` is where `PlainEvents` may write a line without running the other processors; None
    if they must run.
    """

    def __init__(self, fast_path: LineWriter | None) -> None:
        self.fast_path = fast_path

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        # Nearly every event is plain, and one look at the finished line proves it harmless.
        if _has_plain_names(tuple(event)) and _are_plain(event.values()):
            line = to_json(event).decode()
            if is_harmless(line):
                return line
        return _encode(redact(logger, method, event))


def console_renderer(*, colors: bool) -> Processor:
    """Return the last processor of lines for a terminal."""
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=32
    )


def add_origin(writer: LineWriter, method: str, event: EventDict) -> EventDict:
    """Add the logger's name and the level."""
    event["logger"] = writer.name
    event["level"] = method
    return event


def add_timestamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the time in UTC."""
    second, microsecond = divmod(time.time_ns() // 1000, 1_000_000)
    event["timestamp"] = f"{_format_second(second)}.{microsecond:06}Z"
    return event


def add_fields(
    fields: Callable[[], Mapping[str, str]],
    _logger: WrappedLogger,
    _method: str,
    event: EventDict,
) -> EventDict:
    """Add the fields that a function returns."""
    event.update(fields())
    return event


def is_harmless(line: str) -> bool:
    """Tell whether a line of JSON contains nothing to redact or to escape."""
    return line.isascii() and not may_contain_secret(line)


# Consecutive lines are mostly of the same second.
@lru_cache(maxsize=1)
def _format_second(since_epoch: int) -> str:
    return datetime.fromtimestamp(since_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _are_plain(values: Iterable[object]) -> bool:
    for value in values:
        kind = type(value)
        if kind is str or kind is int or value is None:
            continue
        if not (isinstance(value, float) and isfinite(value)):
            return False
    return True


@lru_cache(maxsize=1024)
def _has_plain_names(names: tuple[str, ...]) -> bool:
    return not any(name == "color_message" or is_secret(name) for name in names)


_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode
