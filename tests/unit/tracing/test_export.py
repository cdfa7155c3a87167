import threading
from collections.abc import Sequence
from datetime import timedelta

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from structlog.testing import capture_logs
from typing_extensions import override

from app.infra.observability.tracing.export import LoggingExporter, TraceExport
from app.infra.observability.tracing.spans import start_span


class HangingExporter(SpanExporter):
    """Accepts no span until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.called = threading.Event()

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.called.set()
        self.released.wait(30)
        return SpanExportResult.SUCCESS


def batching(exporter: SpanExporter, *, shutdown_timeout: timedelta) -> TraceExport:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=64, max_export_batch_size=32)
    )
    return TraceExport(provider, shutdown_timeout=shutdown_timeout)


class TestShutdown:
    async def test_sends_the_remaining_spans(self) -> None:
        sent: list[str] = []

        class ListExporter(SpanExporter):
            @override
            def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
                sent.extend(span.name for span in spans)
                return SpanExportResult.SUCCESS

        async with batching(ListExporter(), shutdown_timeout=timedelta(seconds=30)) as traces:
            with start_span(traces.tracer, "last"):
                pass
        assert sent == ["last"]

    async def test_does_not_wait_for_a_hanging_collector(self) -> None:
        exporter = HangingExporter()
        async with batching(exporter, shutdown_timeout=timedelta(milliseconds=1)) as traces:
            with start_span(traces.tracer, "last"):
                pass
        # The exporter is still blocked here.
        assert not exporter.released.is_set()
        exporter.released.set()

    async def test_does_not_wait_for_a_full_queue(self) -> None:
        exporter = HangingExporter()
        async with batching(exporter, shutdown_timeout=timedelta(milliseconds=1)) as traces:
            for _ in range(1000):
                with start_span(traces.tracer, "one of many"):
                    pass
            assert exporter.called.wait(10)
            for _ in range(1000):
                with start_span(traces.tracer, "one of many"):
                    pass
        assert not exporter.released.is_set()
        exporter.released.set()


class TestLoggingExporter:
    def test_logs_each_change_once(self) -> None:
        results = [True, False, False, True, True, False]

        class ChangingExporter(SpanExporter):
            @override
            def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
                return SpanExportResult.SUCCESS if results.pop(0) else SpanExportResult.FAILURE

        exporter = LoggingExporter(ChangingExporter())
        with capture_logs() as logs:
            while results:
                exporter.export(())
        assert [line["event"] for line in logs] == [
            "trace_collector_lost",
            "trace_collector_back",
            "trace_collector_lost",
        ]
