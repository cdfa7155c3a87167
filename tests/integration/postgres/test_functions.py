"""The functions of the schema: their rules are inlined, and their files are installed."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from app.infra.postgres import functions

FILES = sorted(Path(functions.__file__).parent.glob("*.sql"))

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def connection_url(new_database: Callable[..., str]) -> str:
    return new_database(migrated=True)


def plan(url: str, query: str) -> str:
    """Return the plan of a query that uses an index if it can."""
    with psycopg.connect(url) as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET enable_bitmapscan = off")
        rows = connection.execute(b"EXPLAIN " + query.encode()).fetchall()
    return "\n".join(row[0] for row in rows)


class TestRules:
    def test_pending_favorites_are_found_by_their_partial_indexes(
        self, connection_url: str
    ) -> None:
        found = plan(
            connection_url,
            "SELECT product_id FROM favorites WHERE product_id = 5"
            " AND favorite_is_pending(snapshot_title, rejected_at)",
        )
        # Of the two, which are the same as long as they are empty.
        assert "ix_favorites_pending" in found
        assert "favorite_is_pending" not in found

    def test_active_sessions_are_found_without_calling_a_function(
        self, connection_url: str
    ) -> None:
        found = plan(
            connection_url,
            "SELECT id FROM sessions WHERE id = '00000000-0000-4000-8000-000000000000'"
            " AND session_is_active(ended_at, idle_expires_at, expires_at, now())",
        )
        assert "pk_sessions" in found
        assert "ended_at IS NULL" in found
        assert "session_is_active" not in found

    def test_the_size_of_a_list_is_compared_without_calling_a_function(
        self, connection_url: str
    ) -> None:
        found = plan(
            connection_url, "SELECT customer_id FROM favorite_lists WHERE list_is_full(size, 5)"
        )
        assert ">= 5" in found
        assert "list_is_full" not in found


class TestFiles:
    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
    def test_are_what_the_database_has(self, connection_url: str, file: Path) -> None:
        """After a change of a file a new revision has to install it."""
        text = file.read_text(encoding="utf-8")
        body = text.partition("$$")[2].rpartition("$$")[0]
        with psycopg.connect(connection_url) as connection:
            bodies = connection.execute(
                "SELECT prosrc FROM pg_proc WHERE proname = %s"
                " AND pronamespace = 'public'::regnamespace",
                [file.stem],
            ).fetchall()
        assert (body,) in bodies
