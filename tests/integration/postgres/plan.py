"""What PostgreSQL does for the statements that repositories really send."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine


class Sent:
    """The statements that an engine sent, with their parameters."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.statements: list[tuple[str, Sequence[object]]] = []

    def note(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object
    ) -> None:
        self.statements.append((statement, parameters))

    async def plan(self) -> Sequence[dict[str, Any]]:
        """Return the nodes of the plan of the only statement, the outermost first."""
        [plan] = await self.plans()
        return plan

    async def plans(self) -> Sequence[Sequence[dict[str, Any]]]:
        """Return the nodes of the plan of each statement, the outermost first."""
        return [await self._explain(*sent) for sent in self.statements]

    async def _explain(
        self, statement: str, parameters: Sequence[object]
    ) -> Sequence[dict[str, Any]]:
        async with self._engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            explained = await driver.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *parameters)
        return list(_nodes(explained[0]["Plan"]))


@contextmanager
def sent_by(engine: AsyncEngine) -> Generator[Sent]:
    """Note what is sent inside."""
    sent = Sent(engine)
    event.listen(engine.sync_engine, "before_cursor_execute", sent.note)
    try:
        yield sent
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", sent.note)


def _nodes(plan: dict[str, Any]) -> Generator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
