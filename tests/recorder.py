"""Spans that stay in this process."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import StatusCode


class SpanRecorder:
    """A tracer with a provider of its own, and the spans that ended; none unless `sampled`."""

    def __init__(self, *, sampled: bool = True) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(
            sampler=ALWAYS_ON if sampled else ALWAYS_OFF, shutdown_on_exit=False
        )
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("tests")

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
        """Return everything that the spans contain as one text."""
        return "\n".join(str(span.to_json()) for span in self.spans)


def failure(span: ReadableSpan) -> object:
    """Return why a span failed; None if it did not."""
    if span.status.status_code is not StatusCode.ERROR:
        return None
    return (span.attributes or {})["error.type"]


def parent_id(span: ReadableSpan) -> int | None:
    """Return the id of a span's parent."""
    return None if span.parent is None else span.parent.span_id
