import pytest
from opentelemetry.trace import SpanKind, get_current_span

from app.infra.observability.tracing.spans import (
    NO_TRACER,
    context_of,
    current_traceparent,
    links_to,
    log_fields,
    mark_failed,
    start_span,
)
from tests.recorder import SpanRecorder, failure, parent_id

REMOTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class TestStartSpan:
    def test_nests_in_the_current_span(self) -> None:
        recorder = SpanRecorder()
        with start_span(recorder.tracer, "parent"):
            with start_span(
                recorder.tracer, "child", kind=SpanKind.CLIENT, attributes={"n": 1}
            ) as child:
                child.set_attribute("m", "x")
            with start_span(recorder.tracer, "sibling"):
                pass
        child_, sibling, parent = recorder.spans
        assert [parent_id(each) for each in (child_, sibling, parent)] == [
            parent.context.span_id,
            parent.context.span_id,
            None,
        ]
        assert child_.kind is SpanKind.CLIENT
        assert dict(child_.attributes or {}) == {"n": 1, "m": "x"}

    def test_starts_a_new_trace_without_a_current_span(self) -> None:
        recorder = SpanRecorder()
        for name in ("one", "two"):
            with start_span(recorder.tracer, name):
                pass
        one, two = recorder.spans
        assert one.context.trace_id != two.context.trace_id

    def test_records_the_class_of_an_exception_and_not_its_message(self) -> None:
        recorder = SpanRecorder()
        with pytest.raises(LookupError), start_span(recorder.tracer, "fails"):
            raise LookupError("ana@example.com")
        [span] = recorder.spans
        assert (failure(span), span.status.description, list(span.events)) == (
            "LookupError",
            None,
            [],
        )
        assert not get_current_span().get_span_context().is_valid

    def test_keeps_the_reason_of_an_explicit_failure(self) -> None:
        recorder = SpanRecorder()

        def call() -> None:
            with start_span(recorder.tracer, "fails") as span:
                mark_failed(span, "timeout")
                raise LookupError

        with pytest.raises(LookupError):
            call()
        assert failure(recorder.spans[0]) == "timeout"


class TestPropagation:
    def test_continues_a_trace_in_another_process(self) -> None:
        here, there = SpanRecorder(), SpanRecorder()
        with start_span(here.tracer, "send"):
            traceparent = current_traceparent()
        with start_span(there.tracer, "process", parent=context_of(traceparent)):
            pass
        assert parent_id(there.spans[0]) == here.spans[0].context.span_id
        assert there.spans[0].context.trace_id == here.spans[0].context.trace_id

    def test_links_to_a_span_that_is_not_the_parent(self) -> None:
        recorder = SpanRecorder()
        with start_span(recorder.tracer, "linked", links=links_to(context_of(REMOTE))):
            pass
        [span] = recorder.spans
        assert parent_id(span) is None
        [link] = span.links
        assert f"{link.context.trace_id:032x}" == REMOTE[3:35]
        assert f"{link.context.span_id:016x}" == REMOTE[36:52]

    @pytest.mark.parametrize(
        "invalid",
        [
            "",
            "x",
            REMOTE + "\n",
            REMOTE + "-00",
            REMOTE.upper(),
            "01" + REMOTE[2:],
            f"00-{'0' * 32}-00f067aa0ba902b7-01",
            f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
            REMOTE.replace("4", "\N{FULLWIDTH DIGIT FOUR}"),
        ],
    )
    def test_ignores_an_invalid_traceparent(self, invalid: str) -> None:
        recorder = SpanRecorder()
        remote = context_of(invalid)
        with start_span(recorder.tracer, "alone", parent=remote, links=links_to(remote)):
            pass
        [span] = recorder.spans
        assert (parent_id(span), list(span.links)) == (None, [])


class TestLogFields:
    def test_are_the_ids_of_the_innermost_span(self) -> None:
        recorder = SpanRecorder()
        assert (log_fields(), current_traceparent()) == ({}, None)
        with start_span(recorder.tracer, "outer"), start_span(recorder.tracer, "inner"):
            fields, traceparent = log_fields(), current_traceparent()
        inner = recorder.only("inner")
        assert fields == {
            "trace_id": f"{inner.context.trace_id:032x}",
            "span_id": f"{inner.context.span_id:016x}",
        }
        assert traceparent is not None
        assert traceparent.split("-")[1:3] == list(fields.values())

    def test_are_empty_if_the_trace_is_not_sampled(self) -> None:
        recorder = SpanRecorder(sampled=False)
        with start_span(recorder.tracer, "outer"):
            assert log_fields() == {}
            traceparent = current_traceparent()
        assert recorder.spans == ()
        # Tells the other process not to record it either.
        assert traceparent is not None
        assert int(traceparent.rpartition("-")[2], 16) & 1 == 0


class TestNoTracer:
    def test_records_nothing(self) -> None:
        with start_span(NO_TRACER, "outer") as span:
            span.update_name("other")
            mark_failed(span, "reason")
            assert not span.is_recording()
            assert (log_fields(), current_traceparent(), links_to()) == ({}, None, [])

    def test_raises_what_the_block_raises(self) -> None:
        with pytest.raises(LookupError), start_span(NO_TRACER, "fails"):
            raise LookupError
