"""Every statement is recorded exactly once, through SQLAlchemy or past it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.infra.postgres.engine import create_engine
from development.port import free_port
from tests.recorder import SpanRecorder, failure, parent_id

SECRET = "ana@example.com"


@pytest.fixture
def recorder() -> SpanRecorder:
    return SpanRecorder()


@pytest_asyncio.fixture
async def engine(database_url: str, recorder: SpanRecorder) -> AsyncGenerator[AsyncEngine]:
    engine = create_engine(database_url, pool_size=1, tracer=recorder.tracer)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    yield engine
    await engine.dispose()


async def recorded(recorder: SpanRecorder) -> list[str]:
    """Return the names of all spans; asyncpg calls its query log a turn of the loop later."""
    await asyncio.sleep(0)
    return recorder.names


class TestStatements:
    async def test_are_recorded_once_each(
        self, engine: AsyncEngine, recorder: SpanRecorder
    ) -> None:
        with recorder.tracer.start_as_current_span("whole"):
            async with engine.begin() as connection:
                await connection.execute(text("CREATE TEMPORARY TABLE t (name text)"))
                await connection.execute(text("INSERT INTO t VALUES (:name)"), {"name": SECRET})
                # SQLAlchemy passes this to `executemany` of asyncpg.
                await connection.execute(
                    text("INSERT INTO t VALUES (:name)"), [{"name": SECRET}, {"name": "b"}]
                )
                await connection.execute(
                    text("SELECT * FROM t WHERE name = :name"), {"name": SECRET}
                )
            await asyncio.sleep(0)
        *statements, whole = recorder.spans
        assert [span.name for span in statements] == [
            "CREATE",
            "INSERT t",
            "INSERT t",
            "SELECT t",
            "COMMIT",
        ]
        assert {parent_id(span) for span in statements} == {whole.context.span_id}
        attributes = dict(statements[1].attributes or {})
        assert attributes["db.system.name"] == "postgresql"
        assert attributes["db.query.summary"] == "INSERT t"
        assert attributes["db.client.connection.pool.name"] == "favorites"
        assert SECRET not in recorder.everything()

    async def test_past_sqlalchemy_are_recorded(
        self, engine: AsyncEngine, recorder: SpanRecorder
    ) -> None:
        async with engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            with recorder.tracer.start_as_current_span("whole"):
                await driver.fetch("SELECT $1::text FROM pg_class LIMIT 1", SECRET)
                await asyncio.sleep(0)
        assert await recorded(recorder) == ["SELECT pg_class", "whole"]
        assert SECRET not in recorder.everything()

    async def test_that_fail_have_the_sqlstate(
        self, engine: AsyncEngine, recorder: SpanRecorder
    ) -> None:
        with recorder.tracer.start_as_current_span("whole"):
            async with engine.connect() as connection:
                with pytest.raises(DBAPIError):
                    await connection.execute(
                        text("SELECT CAST(:name AS text)::int"), {"name": SECRET}
                    )
        span = recorder.only("SELECT")
        assert failure(span) == "InvalidTextRepresentationError"
        assert dict(span.attributes or {})["db.response.status_code"] == "22P02"
        assert SECRET not in recorder.everything()

    async def test_that_are_canceled_have_failed(
        self, engine: AsyncEngine, recorder: SpanRecorder
    ) -> None:
        with recorder.tracer.start_as_current_span("whole"), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), engine.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(30)"))
        assert failure(recorder.only("SELECT pg_sleep")) == "CancelledError"

    async def test_outside_of_a_span_are_not_recorded(
        self, engine: AsyncEngine, recorder: SpanRecorder
    ) -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        assert await recorded(recorder) == []


class TestConnecting:
    async def test_is_recorded(self, database_url: str, recorder: SpanRecorder) -> None:
        engine = create_engine(database_url, tracer=recorder.tracer)
        with recorder.tracer.start_as_current_span("whole"):
            async with engine.connect():
                pass
        await engine.dispose()
        assert failure(recorder.only("CONNECT")) is None

    async def test_that_fails_has_the_reason(self, recorder: SpanRecorder) -> None:
        url = f"postgresql://{SECRET.replace('@', '%40')}:pw@127.0.0.1:{free_port()}/none"
        engine = create_engine(url, tracer=recorder.tracer)
        with recorder.tracer.start_as_current_span("whole"), pytest.raises(ConnectionRefusedError):
            async with engine.connect():
                pass
        await engine.dispose()
        span = recorder.only("CONNECT")
        assert failure(span) == "ConnectionRefusedError"
        assert dict(span.attributes or {})["server.address"] == "127.0.0.1"
        assert "ana" not in recorder.everything()
