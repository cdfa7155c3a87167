import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from structlog.testing import capture_logs
from typing_extensions import override

from app.application.tracer import NULL_TRACER, SpanKind
from app.infra.observability.tracing.export import NoticingExporter
from app.infra.observability.tracing.tracer import OpenTelemetryTracer
from tests.recorder import RecordingTracer, failure, parent_id

ELSEWHERE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class TestSpans:
    def test_are_parts_of_what_is_around_them(self) -> None:
        tracer = RecordingTracer()
        with tracer.span("whole"):
            with tracer.span("part", kind=SpanKind.CLIENT, attributes={"n": 1}) as part:
                part.note({"m": "x"})
            tracer.happened("done", kind=SpanKind.CLIENT, duration_s=0.5, attributes={})
        part_, done, whole = tracer.spans
        assert [parent_id(each) for each in (part_, done, whole)] == [
            whole.context.span_id,
            whole.context.span_id,
            None,
        ]
        assert dict(part_.attributes or {}) == {"n": 1, "m": "x"}
        assert (done.end_time or 0) - (done.start_time or 0) == 500_000_000

    def test_are_traces_of_their_own_side_by_side(self) -> None:
        tracer = RecordingTracer()
        for name in ("one", "two"):
            with tracer.span(name):
                pass
        one, two = tracer.spans
        assert one.context.trace_id != two.context.trace_id

    def test_go_on_in_another_process(self) -> None:
        here, there = RecordingTracer(), RecordingTracer()
        with here.span("send"):
            carried = here.carried()
        with there.span("process", within=carried):
            pass
        assert parent_id(there.spans[0]) == here.spans[0].context.span_id
        assert there.spans[0].context.trace_id == here.spans[0].context.trace_id

    def test_name_what_led_to_them(self) -> None:
        tracer = RecordingTracer()
        with tracer.span("led", because_of=ELSEWHERE):
            pass
        [span] = tracer.spans
        assert parent_id(span) is None
        [link] = span.links
        assert f"{link.context.trace_id:032x}" == ELSEWHERE[3:35]
        assert f"{link.context.span_id:016x}" == ELSEWHERE[36:52]

    @pytest.mark.parametrize(
        "nonsense",
        [
            "",
            "x",
            ELSEWHERE + "\n",
            ELSEWHERE + "-00",
            ELSEWHERE.upper(),
            "01" + ELSEWHERE[2:],
            f"00-{'0' * 32}-00f067aa0ba902b7-01",
            f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
            ELSEWHERE.replace("4", "\N{FULLWIDTH DIGIT FOUR}"),
        ],
    )
    def test_pass_over_what_is_no_span(self, nonsense: str) -> None:
        tracer = RecordingTracer()
        with tracer.span("alone", within=nonsense, because_of=nonsense):
            pass
        [span] = tracer.spans
        assert (parent_id(span), list(span.links)) == (None, [])

    def test_tell_of_an_exception_by_its_class_alone(self) -> None:
        tracer = RecordingTracer()
        with pytest.raises(LookupError), tracer.span("fails"):
            raise LookupError("ana@example.com")
        [span] = tracer.spans
        assert (failure(span), span.status.description, list(span.events)) == (
            "LookupError",
            None,
            [],
        )

    def test_keep_the_reason_they_were_given(self) -> None:
        tracer = RecordingTracer()

        def call() -> None:
            with tracer.span("fails") as span:
                span.fail("timeout")
                raise LookupError

        with pytest.raises(LookupError):
            call()
        assert failure(tracer.spans[0]) == "timeout"

    def test_are_not_made_of_what_nobody_asked_for(self) -> None:
        tracer = RecordingTracer()
        tracer.happened("look", kind=SpanKind.CLIENT, duration_s=0.1, attributes={})
        assert tracer.spans == ()


class TestIds:
    def test_are_those_of_the_innermost_span(self) -> None:
        tracer = RecordingTracer()
        assert (tracer.ids(), tracer.carried()) == ({}, None)
        with tracer.span("whole"), tracer.span("part"):
            ids, carried = tracer.ids(), tracer.carried()
        part = tracer.only("part")
        assert ids == {
            "trace_id": f"{part.context.trace_id:032x}",
            "span_id": f"{part.context.span_id:016x}",
        }
        assert carried is not None
        assert carried.split("-")[1:3] == list(ids.values())

    def test_are_not_given_where_nothing_is_kept(self) -> None:
        tracer = RecordingTracer(sampled=False)
        with tracer.span("whole"):
            assert tracer.ids() == {}
            carried = tracer.carried()
            tracer.happened("part", kind=SpanKind.CLIENT, duration_s=0.1, attributes={})
        # The other process keeps nothing either.
        assert carried is not None
        assert int(carried.rpartition("-")[2], 16) & 1 == 0


class _Stubborn(SpanExporter):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.began = threading.Event()

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.began.set()
        self.let_go.wait(30)
        return SpanExportResult.SUCCESS


class TestLeaving:
    async def test_sends_what_has_not_been_sent(self) -> None:
        sent: list[str] = []

        class Taking(SpanExporter):
            @override
            def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
                sent.extend(span.name for span in spans)
                return SpanExportResult.SUCCESS

        async with _batching(Taking(), patience=timedelta(seconds=30)) as tracer:
            with tracer.span("last"):
                pass
        assert sent == ["last"]

    async def test_does_not_wait_for_a_collector_that_hangs(self) -> None:
        stubborn = _Stubborn()
        async with _batching(stubborn, patience=timedelta(milliseconds=1)) as tracer:
            with tracer.span("last"):
                pass
        # It hangs still, and we are here.
        assert not stubborn.let_go.is_set()
        stubborn.let_go.set()

    async def test_is_not_held_up_by_a_full_queue(self) -> None:
        stubborn = _Stubborn()
        async with _batching(stubborn, patience=timedelta(milliseconds=1)) as tracer:
            for _ in range(1000):
                with tracer.span("one of many"):
                    pass
            assert stubborn.began.wait(10)
            for _ in range(1000):
                with tracer.span("one of many"):
                    pass
        assert not stubborn.let_go.is_set()
        stubborn.let_go.set()


def _batching(exporter: SpanExporter, *, patience: timedelta) -> OpenTelemetryTracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=64, max_export_batch_size=32)
    )
    return OpenTelemetryTracer(provider, patience=patience)


class TestNoticing:
    def test_is_logged_once_each_way(self) -> None:
        answers = [True, False, False, True, True, False]

        class Moody(SpanExporter):
            @override
            def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
                return SpanExportResult.SUCCESS if answers.pop(0) else SpanExportResult.FAILURE

        exporter = NoticingExporter(Moody())
        with capture_logs() as logs:
            while answers:
                exporter.export(())
        assert [line["event"] for line in logs] == [
            "trace_collector_lost",
            "trace_collector_back",
            "trace_collector_lost",
        ]


class TestNobody:
    async def test_is_told_anything(self) -> None:
        async with NULL_TRACER as tracer:
            with tracer.span("whole", within=ELSEWHERE) as span:
                span.rename("other")
                span.note({"n": 1})
                span.fail("reason")
                assert (tracer.ids(), tracer.carried()) == ({}, None)
                tracer.happened("part", kind=SpanKind.CLIENT, duration_s=0.1, attributes={})
