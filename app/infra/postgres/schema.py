"""Which schema the database has; Alembic, which makes it, is not needed to tell."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.infra.postgres.engine import PATIENCE
from app.infra.postgres.failure import storage_failures

HEAD = "0006"
"""The newest revision that this code knows; revisions are numbered in their order."""


async def schema_at_head(engine: AsyncEngine) -> bool:
    """
    Tell whether the database's schema is that of this code, or a newer one.

    A newer one is right as well: each revision suits the code that still runs when it comes.

    :raises StorageUnavailable: if the database cannot be reached
    """
    with storage_failures():
        async with asyncio.timeout(PATIENCE.total_seconds()), engine.connect() as connection:
            versioned = await connection.scalar(text("SELECT to_regclass('alembic_version')"))
            if versioned is None:
                return False
            revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
            return revision is not None and revision >= HEAD
