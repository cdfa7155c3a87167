"""
The connection of Alembic to the database.

`app.infra.postgres.migrate` passes a connection. On the command line (`alembic revision
--autogenerate`, `alembic check`) the URL is `-x url=…` or the environment's DATABASE_URL.
"""

import asyncio
import os
from typing import Any

from alembic import context
from sqlalchemy import Connection, text

from app.infra.postgres.migrate import METADATA, connected, is_ours

# A number that nothing else in this database uses for an advisory lock.
_ADVISORY_LOCK = 7_046_029_254_386_353_131


def _migrate(connection: Connection) -> None:
    arguments = context.get_x_argument(as_dictionary=True)
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        include_name=is_ours,
        compare_server_default=True,
    )
    with context.begin_transaction():
        # Settings of the transaction, which also work through a transaction pooler: its sessions
        # have a short timeout of their own.
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))
        # Migrations that are started at the same time run one after the other. The wait for this
        # lock is bounded by the timeout of locks, not by the one of statements.
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        # A migration that waits for a table blocks all later transactions on that table.
        connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        connection.execute(
            text("SELECT set_config('statement_timeout', :timeout, true)"),
            {"timeout": arguments.get("statement_timeout", _attribute("statement_timeout"))},
        )
        context.run_migrations()


def _attribute(name: str) -> Any:
    return context.config.attributes.get(name, "60s")


async def _connect_and_migrate() -> None:
    url = context.get_x_argument(as_dictionary=True).get("url", os.environ.get("DATABASE_URL"))
    if url is None:
        raise SystemExit("Say which database: alembic -x url=postgresql://…, or DATABASE_URL")
    async with connected(url) as connection:
        await connection.run_sync(_migrate)


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(_connect_and_migrate())
else:
    _migrate(given)
