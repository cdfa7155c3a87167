"""
Removes secrets and control characters from log lines.

Fields are redacted by name. E-mail addresses, keys, tokens and passwords in URLs are redacted
anywhere in a text, tracebacks included. Control characters, which could forge lines or control a
terminal, are escaped.
"""

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from math import isfinite
from typing import Any

from structlog.typing import EventDict, WrappedLogger

REDACTED = "[redacted]"

_SECRET_FIELD = re.compile(
    r"password|passwd|token(?!_type)|authorization|cookie|secret|e_?mail|api_?key(?!_id)",
    re.IGNORECASE,
)
# Every quantifier is bounded or starts where no earlier match could: linear time for any text.
_SECRET_TEXT = re.compile(
    r"aiq_[A-Za-z0-9]{1,32}_[0-9A-Fa-f]{8,}"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}"
    r"|\$argon2[\w$=,+/-]+"
    r"|(?<=://)[^\s/@'\"]{1,512}(?=@)"
    r"|(?<![\w.+%-])[\w.+-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
)
# C0 except tab and line feed, DEL, C1, line and paragraph separators, bidirectional controls.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LINE_BREAK = re.compile("[\t\n]")
_MAX_DEPTH = 6


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact all fields of an event (a structlog processor)."""
    event.pop("color_message", None)  # uvicorn's copy of the message, with colors
    return {name: _redacted(name, value, depth=0) for name, value in event.items()}


def escape(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape control characters of an event for a terminal (a structlog processor)."""
    # Only tracebacks may have several lines.
    return {
        name: _escaped(value, one_line=name not in {"exception", "stack"})
        for name, value in event.items()
    }


@lru_cache(maxsize=1024)
def is_secret(name: str) -> bool:
    """Tell whether the name of a field is that of a secret."""
    return _SECRET_FIELD.search(name.replace("-", "_")) is not None


def may_contain_secret(text: str) -> bool:
    """Tell whether a text may contain a secret; cheaper than the regular expression."""
    return (
        "aiq_" in text
        or "eyJ" in text
        or "$argon2" in text
        or "@" in text
        or "%40" in text
        or "://" in text
    )


def _redacted(name: str, value: object, *, depth: int) -> object:
    if value is not None and is_secret(name):
        return REDACTED
    match value:
        case str():
            return _redacted_text(value)
        case None | bool() | int():
            return value
        case float():
            return value if isfinite(value) else str(value)
        case Mapping() if depth < _MAX_DEPTH:
            return {
                _redacted_text(key): _redacted(str(key), item, depth=depth + 1)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < _MAX_DEPTH:
            return [_redacted("", item, depth=depth + 1) for item in value]
        case _:
            return _redacted_text(value)


def _redacted_text(value: object) -> str:
    text = str(value)
    return _SECRET_TEXT.sub(REDACTED, text) if may_contain_secret(text) else text


def _escaped(value: object, *, one_line: bool = True) -> object:
    match value:
        case str():
            escaped = _CONTROL.sub(_escape_sequence, value)
            return _LINE_BREAK.sub(_escape_sequence, escaped) if one_line else escaped
        case dict():
            return {_escaped(key): _escaped(item) for key, item in value.items()}
        case list():
            return [_escaped(item) for item in value]
        case _:
            return value


def _escape_sequence(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
