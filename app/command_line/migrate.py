"""`python -m app migrate`."""

import logging

from app.command_line.common import prepare
from app.infra.dependency import database_url


def migrate() -> None:
    """
    Migrate the database to the newest revision; does nothing if it is there already.

    Concurrent runs wait for each other. Each revision works with the previous version of the
    service: run this first, then replace the running processes.

    Example: `DATABASE_URL=postgresql://user:password@host/favorites python -m app migrate`
    """
    # Only this command needs Alembic.
    from app.infra.postgres.migrate import upgrade

    settings = prepare(quiet=False)
    logging.getLogger("alembic").setLevel(logging.INFO)
    upgrade(database_url(settings))
