import pytest

from app.infra.postgres.trace import summary


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
    def test_is_what_is_done_to_which_tables(self, statement: str, expected: str) -> None:
        assert summary(statement) == expected

    def test_holds_no_literal(self) -> None:
        text = summary(
            "SELECT 'it''s FROM ana@example.com' FROM customers WHERE a = 'JOIN secret'"
        )
        assert text == "SELECT customers"

    def test_is_short(self) -> None:
        joins = "".join(f" JOIN table_number_{number}" for number in range(100))
        assert len(summary(f"DELETE {joins}")) == 120
