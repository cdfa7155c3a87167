"""
Sends spans to a collector over OTLP/HTTP.

The only module that imports OpenTelemetry's SDK; imported only if traces are sent.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer
from typing_extensions import override

QUEUE_SIZE = 4096
"""Spans of one process waiting to be sent, at most; new spans replace the oldest."""
BATCH_SIZE = 512
SEND_INTERVAL = timedelta(seconds=1)
SEND_TIMEOUT = timedelta(seconds=5)
"""Time limit for sending one batch, retries included."""
MAX_ATTRIBUTE_LENGTH = 256

logger = structlog.get_logger(__name__)


class TraceExport:
    """
    The tracer of a process and, as a context manager, the shutdown of its provider.

    Leaving sends the remaining spans, and waits for that no longer than `shutdown_timeout`: the
    SDK would wait for 30 seconds, and a collector that hangs must not delay the process.
    """

    def __init__(self, provider: TracerProvider, *, shutdown_timeout: timedelta) -> None:
        self.tracer: Tracer = provider.get_tracer("favorites")
        self._provider = provider
        self._shutdown_timeout = shutdown_timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # The loop was closed after the timeout.
                loop.call_soon_threadsafe(sent.set)

        # A daemon thread: closing the loop would wait for a thread of the loop's executor.
        threading.Thread(target=shut_down, name="traces-shutdown", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._shutdown_timeout.total_seconds()):
                await sent.wait()


class LoggingExporter(SpanExporter):
    """Logs once when the collector stops accepting spans, and once when it accepts them again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = False

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        lost = result is not SpanExportResult.SUCCESS
        if lost and not self._lost:
            logger.warning("trace_collector_lost", spans=len(spans))
        elif self._lost and not lost:
            logger.info("trace_collector_back")
        self._lost = lost
        return result

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def create_export(
    endpoint: str, *, service: str, version: str, environment: str, shutdown_timeout: timedelta
) -> TraceExport:
    """
    Configure the SDK to send spans to a collector; `endpoint` is without `/v1/traces`.

    The SDK's other environment variables (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
    `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` …) apply.
    """
    provider = TracerProvider(
        resource=_resource(service=service, version=version, environment=environment),
        span_limits=SpanLimits(max_attribute_length=MAX_ATTRIBUTE_LENGTH),
        # TraceExport shuts it down, within a time limit.
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        f"{endpoint.rstrip('/')}/v1/traces",
        timeout=SEND_TIMEOUT.total_seconds(),
        compression=Compression.Gzip,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            LoggingExporter(exporter),
            max_queue_size=QUEUE_SIZE,
            max_export_batch_size=BATCH_SIZE,
            schedule_delay_millis=SEND_INTERVAL.total_seconds() * 1000,
        )
    )
    return TraceExport(provider, shutdown_timeout=shutdown_timeout)


def _resource(*, service: str, version: str, environment: str) -> Resource:
    defaults = Resource.create(
        {
            "service.name": service,
            "service.version": version,
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            "deployment.environment.name": environment,
        }
    )
    # The operator's environment variables win over the code; in the SDK it is the other way round.
    return defaults.merge(OTELResourceDetector().detect())
