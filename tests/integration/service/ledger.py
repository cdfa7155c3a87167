"""How many statements requests cost."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import psycopg

from development.postgres import EmbeddedPostgres
from tests.integration.service.harness import until

STATEMENT = re.compile(r"^\[favorites\] LOG:  (?:statement|execute [^:]*): (.*)", re.MULTILINE)
CONTROL = re.compile(r"BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE")


@dataclass(frozen=True)
class Ledger:
    """What PostgreSQL was asked by the service, as its log has it."""

    database: EmbeddedPostgres

    async def statements(
        self,
        client: httpx2.AsyncClient,
        method: str,
        path: str,
        *,
        expected: int | None = None,
        **sent: Any,
    ) -> list[str]:
        """Make a request, and return the statements it cost, those of transactions aside."""
        begin = self.database.log.stat().st_size
        answer = await client.request(method, path, **sent)
        assert answer.status_code == (expected or answer.status_code) < 400, answer.text
        mark = uuid4().hex
        with psycopg.connect(self.database.url(), application_name="ledger") as connection:
            connection.execute(f"SELECT '{mark}'".encode())

        async def log() -> str:
            text = self.database.log.read_bytes()[begin:].decode()
            return text if mark in text else ""

        found = STATEMENT.findall(await until(log, what="the mark in the log"))
        return [each for each in found if not CONTROL.match(each)]
