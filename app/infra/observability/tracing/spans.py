"""
What OpenTelemetry's API lacks for this service: failures without messages, links, log fields.

Only the API is imported here, which does nothing unless an SDK's tracer is passed in.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NoOpTracer,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

NO_TRACER: Tracer = NoOpTracer()
"""The tracer of a process that sends no traces."""

# NO_TRACER itself would create and activate a span without effect, for 8 µs.
_NO_SPAN = nullcontext(INVALID_SPAN)

_TRACEPARENT_LENGTH = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")

_propagator = TraceContextTextMapPropagator()


def start_span(
    tracer: Tracer,
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes = None,
    parent: Context | None = None,
    links: Sequence[Link] = (),
) -> AbstractContextManager[Span]:
    """
    Start a span and make it the current one until the block ends.

    An exception that leaves the block marks the span as failed with the exception's class. Its
    message is not recorded: messages contain parameters of statements, e-mail addresses included.
    """
    if tracer is NO_TRACER:
        return _NO_SPAN
    return _recorded(
        tracer.start_as_current_span(
            name,
            context=parent,
            kind=kind,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        )
    )


def mark_failed(span: Span, reason: str) -> None:
    """Mark a span as failed; the reason is a code or a class, never a message."""
    span.set_attribute("error.type", reason)
    span.set_status(StatusCode.ERROR)


def current_traceparent() -> str | None:
    """Return the current span as a W3C `traceparent` for another process; None without one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def context_of(traceparent: str | None) -> Context:
    """Return a context to continue a trace of another process in; empty if it is not valid."""
    # Version 00 has exactly this length. Later versions are not continued.
    if (
        traceparent is None
        or len(traceparent) != _TRACEPARENT_LENGTH
        or not traceparent.startswith("00-")
    ):
        return Context()
    return _propagator.extract({"traceparent": traceparent}, Context())


def links_to(cause: Context | None = None) -> Sequence[Link]:
    """Return a link to the span of a context, by default the current one; none without a span."""
    span_context = get_current_span(cause).get_span_context()
    return [Link(span_context)] if span_context.is_valid else []


def log_fields() -> Mapping[str, str]:
    """Return `trace_id` and `span_id` of the current span; nothing if it is not recorded."""
    context = get_current_span().get_span_context()
    if not context.trace_flags.sampled:
        return {}
    return {
        "trace_id": format_trace_id(context.trace_id),
        "span_id": format_span_id(context.span_id),
    }


@contextmanager
def _recorded(current_span: AbstractContextManager[Span]) -> Iterator[Span]:
    with current_span as span:
        try:
            yield span
        except BaseException as error:
            if not _has_failed(span):
                mark_failed(span, type(error).__qualname__)
            raise


def _has_failed(span: Span) -> bool:
    # Only the SDK's spans can be read; the others record nothing anyway.
    status: Status | None = getattr(span, "status", None)
    return status is not None and status.status_code is StatusCode.ERROR
