from collections.abc import Callable
from types import SimpleNamespace

import pytest

from app.infra.observability.tracing.spans import start_span
from app.infra.postgres.trace import StatementTrace, summary
from tests.recorder import SpanRecorder, failure, parent_id


class TestSummary:
    @pytest.mark.parametrize(
        ("statement", "expected"),
        [
            (
                "SELECT f.a\nFROM favorites AS f LEFT OUTER JOIN products_cache ON f.id = $1",
                "SELECT favorites products_cache",
            ),
            ("SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE OF sessions", "SELECT sessions"),
            (
                "INSERT INTO throttles (key) VALUES ($1) ON CONFLICT (key) DO UPDATE SET a = $2",
                "INSERT throttles",
            ),
            ("UPDATE sessions SET a = $1", "UPDATE sessions"),
            (
                "DELETE FROM a WHERE id IN (SELECT id FROM b WHERE x IS DISTINCT FROM y)",
                "DELETE a SELECT b",
            ),
            (
                "WITH gone AS (DELETE FROM a RETURNING id), back (id) AS (SELECT 1)"
                " INSERT INTO b SELECT id FROM gone JOIN back USING (id)",
                "DELETE a SELECT INSERT b",
            ),
            ("SELECT * FROM unnest($1::int[]) AS id", "SELECT"),
            ("SELECT f.n, f.a FROM add_favorites($1, $2) AS f", "SELECT add_favorites"),
            (
                "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW($1)])",
                "SELECT procrastinate_defer_jobs_v1",
            ),
            ("SELECT extract(epoch FROM created_at) FROM a", "SELECT a"),
            ("COMMIT;", "COMMIT"),
            ("ROLLBACK TO sa_savepoint_1;", "ROLLBACK"),
            ("RELEASE SAVEPOINT sa_savepoint_1", "RELEASE"),
            (";", "PING"),
        ],
    )
    def test_names_operations_and_tables(self, statement: str, expected: str) -> None:
        assert summary(statement) == expected

    def test_contains_no_literal(self) -> None:
        text = summary(
            "SELECT 'it''s FROM ana@example.com' FROM customers WHERE a = 'JOIN secret'"
        )
        assert text == "SELECT customers"

    def test_has_a_maximum_length(self) -> None:
        joins = "".join(f" JOIN table_number_{number}" for number in range(100))
        assert len(summary(f"DELETE {joins}")) == 120


class Connection:
    """Reports statements as a connection of asyncpg does."""

    def add_query_logger(self, report: Callable[[object], None]) -> None:
        self._report = report

    def ran(self, query: str, *, elapsed: float, exception: Exception | None = None) -> None:
        self._report(SimpleNamespace(query=query, elapsed=elapsed, exception=exception))


class TestStatementTrace:
    def watched(self, recorder: SpanRecorder) -> Connection:
        connection = Connection()
        trace = StatementTrace(
            recorder.tracer, dsn="postgresql://ana:secret@db.test:6432/favorites", pool="main"
        )
        trace.watch_connection(connection)
        return connection

    def test_records_the_duration_within_the_current_span(self) -> None:
        recorder = SpanRecorder()
        connection = self.watched(recorder)
        with start_span(recorder.tracer, "request"):
            connection.ran("SELECT 1 FROM sessions", elapsed=0.5)
        statement, request = recorder.spans
        assert statement.name == "SELECT sessions"
        assert parent_id(statement) == request.context.span_id
        assert (statement.end_time or 0) - (statement.start_time or 0) == 500_000_000
        assert failure(statement) is None
        assert dict(statement.attributes or {}) == {
            "db.system.name": "postgresql",
            "db.client.connection.pool.name": "main",
            "db.query.summary": "SELECT sessions",
            "server.address": "db.test",
            "server.port": 6432,
        }

    def test_records_nothing_outside_of_a_span(self) -> None:
        recorder = SpanRecorder()
        self.watched(recorder).ran("SELECT 1 FROM sessions", elapsed=0.5)
        assert recorder.spans == ()

    def test_records_nothing_in_a_trace_that_is_not_sampled(self) -> None:
        recorder = SpanRecorder(sampled=False)
        connection = self.watched(recorder)
        with start_span(recorder.tracer, "request"):
            connection.ran("SELECT 1 FROM sessions", elapsed=0.5, exception=LookupError())
        assert recorder.spans == ()
