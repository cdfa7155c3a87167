"""What is asked of the database is told once, however it is asked."""

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
from tests.recorder import RecordingTracer, failure, parent_id

SECRET = "ana@example.com"


@pytest.fixture
def tracer() -> RecordingTracer:
    return RecordingTracer()


@pytest_asyncio.fixture
async def engine(database_url: str, tracer: RecordingTracer) -> AsyncGenerator[AsyncEngine]:
    engine = create_engine(database_url, pool_size=1, tracer=tracer)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    yield engine
    await engine.dispose()


async def seen(tracer: RecordingTracer) -> list[str]:
    """Return the names, when the driver's log has been told as well."""
    await asyncio.sleep(0)
    return tracer.names


class TestStatements:
    async def test_are_told_once_each(self, engine: AsyncEngine, tracer: RecordingTracer) -> None:
        with tracer.span("whole"):
            async with engine.begin() as connection:
                await connection.execute(text("CREATE TEMPORARY TABLE t (name text)"))
                await connection.execute(text("INSERT INTO t VALUES (:name)"), {"name": SECRET})
                # By the driver's own way for many at once.
                await connection.execute(
                    text("INSERT INTO t VALUES (:name)"), [{"name": SECRET}, {"name": "b"}]
                )
                await connection.execute(
                    text("SELECT * FROM t WHERE name = :name"), {"name": SECRET}
                )
            await asyncio.sleep(0)
        *statements, whole = tracer.spans
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
        assert SECRET not in tracer.everything()

    async def test_that_go_past_sqlalchemy_are_told_too(
        self, engine: AsyncEngine, tracer: RecordingTracer
    ) -> None:
        async with engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            with tracer.span("whole"):
                await driver.fetch("SELECT $1::text FROM pg_class LIMIT 1", SECRET)
                await asyncio.sleep(0)
        assert await seen(tracer) == ["SELECT pg_class", "whole"]
        assert SECRET not in tracer.everything()

    async def test_that_fail_say_by_which_state(
        self, engine: AsyncEngine, tracer: RecordingTracer
    ) -> None:
        with tracer.span("whole"):
            async with engine.connect() as connection:
                with pytest.raises(DBAPIError):
                    await connection.execute(
                        text("SELECT CAST(:name AS text)::int"), {"name": SECRET}
                    )
        span = tracer.only("SELECT")
        assert failure(span) == "InvalidTextRepresentationError"
        assert dict(span.attributes or {})["db.response.status_code"] == "22P02"
        assert SECRET not in tracer.everything()

    async def test_that_are_given_up_are_told_as_failed(
        self, engine: AsyncEngine, tracer: RecordingTracer
    ) -> None:
        with tracer.span("whole"), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), engine.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(30)"))
        assert failure(tracer.only("SELECT pg_sleep")) == "CancelledError"

    async def test_that_nobody_asked_for_are_not(
        self, engine: AsyncEngine, tracer: RecordingTracer
    ) -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        assert await seen(tracer) == []


class TestConnecting:
    async def test_is_told(self, database_url: str, tracer: RecordingTracer) -> None:
        engine = create_engine(database_url, tracer=tracer)
        with tracer.span("whole"):
            async with engine.connect():
                pass
        await engine.dispose()
        assert failure(tracer.only("CONNECT")) is None

    async def test_that_fails_says_why(self, tracer: RecordingTracer) -> None:
        url = f"postgresql://{SECRET.replace('@', '%40')}:pw@127.0.0.1:{free_port()}/none"
        engine = create_engine(url, tracer=tracer)
        with tracer.span("whole"), pytest.raises(ConnectionRefusedError):
            async with engine.connect():
                pass
        await engine.dispose()
        span = tracer.only("CONNECT")
        assert failure(span) == "ConnectionRefusedError"
        assert dict(span.attributes or {})["server.address"] == "127.0.0.1"
        assert "ana" not in tracer.everything()
