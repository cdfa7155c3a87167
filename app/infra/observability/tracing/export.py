"""Where traces go: to a collector, over OTLP/HTTP, whenever it takes them."""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta

import structlog
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from typing_extensions import override

from app.infra.observability.tracing.tracer import OpenTelemetryTracer

QUEUE = 4096
"""Spans of one process that wait to be sent, at the most; the oldest give way to new ones."""
BATCH = 512
EVERY = timedelta(seconds=1)
TIMEOUT = timedelta(seconds=5)
"""How long one batch is tried to be sent."""
LONGEST_VALUE = 256

logger = structlog.get_logger(__name__)


def create_tracer(
    endpoint: str, *, service: str, version: str, environment: str, patience: timedelta
) -> OpenTelemetryTracer:
    """
    Make the tracer of a process that sends to a collector; `endpoint` is without `/v1/traces`.

    What the SDK takes from the environment besides (`OTEL_SERVICE_NAME`,
    `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` …) counts.
    """
    provider = TracerProvider(
        resource=_resource(service=service, version=version, environment=environment),
        span_limits=SpanLimits(max_attribute_length=LONGEST_VALUE),
        # We see to it ourselves, and wait for a moment only.
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        f"{endpoint.rstrip('/')}/v1/traces",
        timeout=TIMEOUT.total_seconds(),
        compression=Compression.Gzip,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            NoticingExporter(exporter),
            max_queue_size=QUEUE,
            max_export_batch_size=BATCH,
            schedule_delay_millis=EVERY.total_seconds() * 1000,
        )
    )
    return OpenTelemetryTracer(provider, patience=patience)


class NoticingExporter(SpanExporter):
    """Logs once when traces do not arrive any more, and once when they do again."""

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


def _resource(*, service: str, version: str, environment: str) -> Resource:
    ours = Resource.create(
        {
            "service.name": service,
            "service.version": version,
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            "deployment.environment.name": environment,
        }
    )
    # The SDK lets what is given in the code win; an operator knows better.
    return ours.merge(OTELResourceDetector().detect())
