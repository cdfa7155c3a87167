"""What is done for one purpose, as a trace: a tree of spans, over all processes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from enum import Enum, auto
from types import TracebackType
from typing import Self, TypeAlias

from typing_extensions import override

Attributes: TypeAlias = Mapping[str, str | int | float | bool]
"""
What a span says about itself, by the names of OpenTelemetry's conventions where there is one.

It is kept by others and for long: ids, never a secret, never what a client wrote.
"""

NOTHING: Attributes = {}


class SpanKind(Enum):
    """Which side of a call a span is."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()
    PRODUCER = auto()
    CONSUMER = auto()


class Span(ABC):
    """Something that takes time, while it does; to be used by the task that began it."""

    @abstractmethod
    def rename(self, name: str) -> None:
        """Give it a name that was not known when it began."""

    @abstractmethod
    def note(self, attributes: Attributes) -> None:
        """Say more about it."""

    @abstractmethod
    def fail(self, reason: str) -> None:
        """Mark it as failed; the reason is one word, such as a code, and no message."""


class Tracer(ABC):
    """
    Tells what is done; has to be quick and not raise, whatever becomes of what it tells.

    Enter it before anything is told. Leaving it sends what has not been sent, for a moment.
    """

    @abstractmethod
    def span(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = NOTHING,
        within: str | None = None,
        because_of: str | None = None,
    ) -> AbstractContextManager[Span]:
        """
        Tell of what is done inside, as a part of the span around it.

        `within` is a span of another process to be a part of instead, as `carried` gave it there.
        `because_of` is one that led to this without being a whole of which this is a part. What
        is no such thing is passed over. Without a span around it this is a trace of its own. It
        has failed if an exception leaves it.
        """

    @abstractmethod
    def happened(
        self,
        name: str,
        *,
        kind: SpanKind,
        duration_s: float,
        attributes: Attributes,
        failure: str | None = None,
    ) -> None:
        """Tell of what has just ended as a part of the span around it; without one, of nothing."""

    @abstractmethod
    def carried(self) -> str | None:
        """Return the span around us for another process (W3C `traceparent`), if there is one."""

    @abstractmethod
    def ids(self) -> Mapping[str, str]:
        """Return `trace_id` and `span_id` of the span around us, for log lines; or nothing."""

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Begin."""

    @abstractmethod
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End."""


class _NullSpan(Span):
    @override
    def rename(self, name: str) -> None:
        pass

    @override
    def note(self, attributes: Attributes) -> None:
        pass

    @override
    def fail(self, reason: str) -> None:
        pass


_NULL_SPAN = nullcontext(_NullSpan())
_NO_IDS: Mapping[str, str] = {}


class NullTracer(Tracer):
    """Tells nobody."""

    @override
    def span(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = NOTHING,
        within: str | None = None,
        because_of: str | None = None,
    ) -> AbstractContextManager[Span]:
        return _NULL_SPAN

    @override
    def happened(
        self,
        name: str,
        *,
        kind: SpanKind,
        duration_s: float,
        attributes: Attributes,
        failure: str | None = None,
    ) -> None:
        pass

    @override
    def carried(self) -> str | None:
        return None

    @override
    def ids(self) -> Mapping[str, str]:
        return _NO_IDS

    @override
    async def __aenter__(self) -> Self:
        return self

    @override
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


NULL_TRACER = NullTracer()
