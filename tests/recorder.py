"""A tracer whose spans stay in this process."""

from collections.abc import Sequence
from datetime import timedelta

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import StatusCode

from app.infra.observability.tracing.tracer import OpenTelemetryTracer


class RecordingTracer(OpenTelemetryTracer):
    """Keeps what it is told; nothing of what is not `sampled`."""

    def __init__(self, *, sampled: bool = True) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(
            sampler=ALWAYS_ON if sampled else ALWAYS_OFF, shutdown_on_exit=False
        )
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        super().__init__(provider, patience=timedelta(seconds=10))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The spans so far, in the order in which they ended."""
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.spans]

    def only(self, name: str) -> ReadableSpan:
        """Return the one span of a name."""
        [span] = [span for span in self.spans if span.name == name]
        return span

    def everything(self) -> str:
        """Return all that spans say, in one text."""
        return "\n".join(str(span.to_json()) for span in self.spans)


def failure(span: ReadableSpan) -> object:
    """Return why a span failed; None if it did not."""
    if span.status.status_code is not StatusCode.ERROR:
        return None
    return (span.attributes or {})["error.type"]


def parent_id(span: ReadableSpan) -> int | None:
    """Return the id of the span that a span is a part of."""
    return None if span.parent is None else span.parent.span_id
