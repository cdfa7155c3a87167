"""
Traces by OpenTelemetry's SDK.

Nothing imports this package but the composition root, and only if traces are sent anywhere: a
process without them does not even load the library.
"""

import asyncio
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from typing_extensions import override

from app.application.tracer import NOTHING, Attributes, Span, SpanKind, Tracer

_KINDS: Mapping[SpanKind, trace.SpanKind] = {kind: trace.SpanKind[kind.name] for kind in SpanKind}
# Version 00 (W3C Trace Context, section 3.2), and nothing that is not all of it.
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)


class OpenTelemetryTracer(Tracer):
    """
    Tells a provider, to which it belongs, of everything.

    On leaving, what has not been sent is waited for as long as `patience`; a collector that does
    not answer must not keep the process.
    """

    def __init__(self, provider: TracerProvider, *, patience: timedelta) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("favorites")
        self._patience = patience

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
        parent, cause = _parse(within), _parse(because_of)
        return _entered(
            self._tracer.start_span(
                name,
                context=parent and trace.set_span_in_context(trace.NonRecordingSpan(parent)),
                kind=_KINDS[kind],
                attributes=attributes,
                links=[trace.Link(cause)] if cause else None,
                record_exception=False,
                set_status_on_exception=False,
            )
        )

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
        if not trace.get_current_span().is_recording():
            return
        now_ns = time.time_ns()
        span = self._tracer.start_span(
            name,
            kind=_KINDS[kind],
            attributes=attributes,
            start_time=now_ns - round(duration_s * 1e9),
        )
        if failure is not None:
            _Span(span).fail(failure)
        span.end(now_ns)

    @override
    def carried(self) -> str | None:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @override
    def ids(self) -> Mapping[str, str]:
        context = trace.get_current_span().get_span_context()
        if not context.trace_flags.sampled:
            # An id under which nothing is found would only mislead.
            return {}
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

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
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(sent.set)

        # Not in the loop's executor, which would be waited for when the loop is closed.
        threading.Thread(target=shut_down, name="traces-shutdown", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience.total_seconds()):
                await sent.wait()


class _Span(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._failed = False

    @property
    def failed(self) -> bool:
        return self._failed

    @override
    def rename(self, name: str) -> None:
        self._span.update_name(name)

    @override
    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    @override
    def fail(self, reason: str) -> None:
        self._failed = True
        self._span.set_attribute("error.type", reason)
        self._span.set_status(trace.StatusCode.ERROR)


@contextmanager
def _entered(span: trace.Span) -> Iterator[Span]:
    # What `use_span` does, but an exception is told by its class alone: messages hold parameters
    # of statements, and e-mail addresses among them.
    entered = _Span(span)
    token = contexts.attach(trace.set_span_in_context(span))
    try:
        yield entered
    except BaseException as error:
        if not entered.failed:
            entered.fail(type(error).__qualname__)
        raise
    finally:
        contexts.detach(token)
        span.end()


def _parse(traceparent: str | None) -> trace.SpanContext | None:
    """Return the span that is meant; None if it is not a valid one."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    context = trace.SpanContext(
        trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags)
    )
    return context if context.is_valid else None
