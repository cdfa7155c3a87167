"""
A real PgBouncer for tests, configured as the profile `scale` has it.

It comes with the operating system (Debian: pgbouncer); without it these tests are skipped.
"""

import os
import shutil
import subprocess
from collections.abc import Generator
from configparser import RawConfigParser
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import pytest

from app.settings import Settings
from development.port import free_port
from tests.database import PATIENT
from tests.listening import wait_until_listening

SHIPPED = Path(__file__).parents[1] / "development" / "pgbouncer" / "pgbouncer.ini"
# Debian has it where only root looks.
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
SHIPPED_MS = Settings.model_fields["database_pool_timeout"].default // timedelta(milliseconds=1)
FEW = 10
"""Connections to the server, so few that sessions have to share them."""


class Pooler:
    """
    A PgBouncer in front of a server, with what we ship but for names, ports and few places.

    A statement may take `statement_timeout` by default. It knows the users of the server's URL,
    which it reads from `users`.
    """

    def __init__(
        self, directory: Path, server_url: str, *, statement_timeout: timedelta = PATIENT
    ) -> None:
        self.users = directory / "userlist.txt"
        self._server = urlsplit(server_url)
        self._port = free_port()
        self._ini = directory / "pgbouncer.ini"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        login = [unquote(part or "") for part in (self._server.username, self._server.password)]
        text = " ".join(f'"{part}"' for part in login)
        self.users.write_text(f"{text}\n", encoding="utf-8")
        self._configure(statement_timeout)

    def _configure(self, statement_timeout: timedelta) -> None:
        shipped = RawConfigParser(comment_prefixes=(";",))
        shipped.read(SHIPPED, encoding="utf-8")
        place = f"host={self._server.hostname} port={self._server.port or 5432}"
        database = shipped["databases"]["favorites"].replace("host=database port=5432", place)
        # Any database of the server: each test process has one of its own. And patiently: what a
        # test shows must not depend on how busy the machine is.
        milliseconds = statement_timeout // timedelta(milliseconds=1)
        shipped["databases"] = {"*": database.replace(f"= {SHIPPED_MS}", f"= {milliseconds}")}
        shipped["pgbouncer"].update(
            {
                "listen_addr": "127.0.0.1",
                "listen_port": str(self._port),
                "auth_file": str(self.users),
                "default_pool_size": str(FEW),
                "query_wait_timeout": str(round(PATIENT.total_seconds())),
            }
        )
        with self._ini.open("w", encoding="utf-8") as file:
            shipped.write(file)

    @property
    def pid(self) -> int:
        """The process id of the running pooler."""
        assert self._process is not None
        return self._process.pid

    def url(self, database_url: str) -> str:
        """Return where a database of the server is reached through the pooler."""
        parts = urlsplit(database_url)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._port}"))

    def start(self) -> None:
        """Start it, and wait until it listens."""
        assert PGBOUNCER is not None
        # It refuses to be root.
        user = ("-u", "nobody") if os.geteuid() == 0 else ()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - found on the PATH
                [PGBOUNCER, *user, str(self._ini)], stdout=log, stderr=log
            )
        try:
            wait_until_listening(self._process, self._port)
        except AssertionError as error:
            error.add_note(self._log.read_text(encoding="utf-8"))
            raise

    def kill(self) -> None:
        """End it at once, and all connections with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_pooler(
    directory: Path, server_url: str, *, statement_timeout: timedelta = PATIENT
) -> Generator[Pooler]:
    """Run a pooler for as long as the context lasts; skip the test if there is none."""
    if PGBOUNCER is None:
        pytest.skip("there is no pgbouncer on this machine (Debian: pgbouncer)")
    pooler = Pooler(directory, server_url, statement_timeout=statement_timeout)
    pooler.start()
    try:
        yield pooler
    finally:
        pooler.kill()
