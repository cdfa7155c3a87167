"""The schema that this code needs; reading the one of the database does not import Alembic."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.infra.postgres.engine import PATIENCE
from app.infra.postgres.failure import storage_failures

HEAD = "0007"
"""The newest revision of this code; revisions are numbered in their order."""


async def schema_at_head(engine: AsyncEngine) -> bool:
    """
    Tell whether the schema of the database is the one of this code, or a newer one.

    A newer one works too: each revision is compatible with the release before it.

    :raises StorageUnavailable: if the database cannot be reached
    """
    with storage_failures():
        async with asyncio.timeout(PATIENCE.total_seconds()), engine.connect() as connection:
            versioned = await connection.scalar(text("SELECT to_regclass('alembic_version')"))
            if versioned is None:
                return False
            revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
            return revision is not None and revision >= HEAD
