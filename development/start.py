"""Run everything on this machine, until Ctrl-C: `development/start`.

In this order, and stopped in the opposite one: PostgreSQL (unless DATABASE_URL is set), the local
Fake Store (unless FAKESTORE_URL is set), migrations, then the processes of `PROCESSES`.
"""

import fcntl
import http.client
import os
import shlex
import signal
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from dotenv import dotenv_values

from app.settings import Settings, SettingsError, load_settings
from development.child import Child
from development.port import free_port, port_is_free
from development.postgres import EmbeddedPostgres, PostgresError, binary

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
DATABASE = "favorites"
FAKESTORE_PORT = 8081
READY_TIMEOUT_S = 60.0
REMAINS_TIMEOUT_S = 40.0
POLL_S = 0.1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# What runs once the database is migrated: name and command of each, first to last.
PROCESSES: Mapping[str, tuple[str, ...]] = {
    "API": ("-m", "app", "serve"),
    "worker": ("-m", "app", "worker"),
}


class StartError(Exception):
    """Something is in the way; the text says what in words for a person."""


class StopRequested(Exception):
    """A signal asked us to stop."""


def say(text: str) -> None:
    """Tell the person at the terminal, which may be gone by now."""
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


@dataclass
class Supervisor:
    """Starts programs one after the other, and stops them when any of them or a person ends it."""

    environment: dict[str, str]
    lock: int
    children: dict[str, Child] = field(default_factory=dict)
    postgres: EmbeddedPostgres | None = None
    stopping: bool = False

    def request_stop(self, _signum: int, _frame: FrameType | None) -> None:
        """Take note of a signal; `check` acts on it at the next safe moment."""
        self.stopping = True

    def check(self) -> None:
        """Notice what happened meanwhile.

        :raises StopRequested: if a signal asked us to stop
        :raises StartError: if a program ended by itself
        """
        if self.stopping:
            raise StopRequested
        if self.postgres and self.postgres.exit_status is not None:
            raise StartError(f"PostgreSQL ended by itself; its log is {self.postgres.log}.")
        for name, child in self.children.items():
            if (status := child.exit_status) is not None:
                raise StartError(f"{name} ended by itself with status {status}.")

    def pause(self) -> None:
        """Let a moment pass and notice what happened in it."""
        time.sleep(POLL_S)
        self.check()

    def spawn(self, *arguments: str) -> Child:
        """Run Python with these arguments."""
        return Child(
            [sys.executable, *arguments],
            environment=self.environment,
            directory=ROOT,
            keep_open=(self.lock,),
        )

    @contextmanager
    def running(self, name: str, *arguments: str) -> Generator[None]:
        """Keep a program running for as long as the context lasts."""
        self.check()
        child = self.children[name] = self.spawn(*arguments)
        try:
            yield
        finally:
            del self.children[name]
            child.stop()

    def finish(self, name: str, *arguments: str) -> None:
        """Run a program to its end.

        :raises StartError: if it fails
        """
        child = self.spawn(*arguments)
        try:
            while child.exit_status is None:
                self.pause()
        finally:
            status = child.stop()
        if status:
            raise StartError(f"{name} failed with status {status}.")

    def wait_for(self, port: int, path: str) -> None:
        """Wait until a path on this machine answers 200.

        :raises StartError: if that takes too long
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not answers(port, path):
            if time.monotonic() > deadline:
                raise StartError(f"http://localhost:{port}{path} does not answer with 200.")
            self.pause()


def answers(port: int, path: str) -> bool:
    """Say whether a path on this machine answers 200 now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def hold_lock(path: Path) -> int:
    """Make sure that we are the only one here, and return the descriptor that says so.

    The watchers of our programs hold it as well. When we are killed, it is free for the next
    start once they have cleared up behind us.

    :raises StartError: if another start runs
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + REMAINS_TIMEOUT_S
    waited = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 20, 0).decode().strip()
            if not holder or _is_alive(int(holder)) or time.monotonic() > deadline:
                raise StartError(f"It runs already here (process {holder}).") from None
            if not waited:
                waited = True
                say("Waiting for what a killed start left running")
            time.sleep(POLL_S)
        else:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def check_ports(settings: Settings) -> None:
    """Make sure that the service can listen.

    :raises StartError: if one of its ports is taken
    """
    for name, port in (("PORT", settings.port), ("METRICS_PORT", settings.metrics_port)):
        if port and not port_is_free(port, settings.host):
            raise StartError(
                f"Port {port} is taken by another program: end it, or choose another with {name}=."
            )


def choose_fakestore_port() -> int:
    """Return FAKESTORE_PORT from the environment or `.env`, or a free one.

    :raises StartError: if the one asked for cannot be had
    """
    wish = os.environ.get("FAKESTORE_PORT") or dotenv_values(ROOT / ".env").get("FAKESTORE_PORT")
    if not wish:
        return FAKESTORE_PORT if port_is_free(FAKESTORE_PORT) else free_port()
    if not (wish.isascii() and wish.isdecimal() and 0 < int(wish) < 65536):
        raise StartError(f"FAKESTORE_PORT is no port: {wish}")
    if not port_is_free(int(wish)):
        raise StartError(f"Port {wish} is taken by another program: change FAKESTORE_PORT.")
    return int(wish)


def run(supervisor: Supervisor, settings: Settings) -> None:
    """Start all, tell where it is, and keep it running until a signal."""
    notes: list[tuple[str, str]] = []
    fakestore_port: int | None = None
    with ExitStack() as stack:
        if settings.database_url is None:
            say("Starting PostgreSQL")
            server = EmbeddedPostgres(LOCAL / "postgres", keep_open=(supervisor.lock,))
            stack.enter_context(server)
            supervisor.postgres = server
            server.create_database(DATABASE)
            url = server.url(DATABASE)
            supervisor.environment["DATABASE_URL"] = url
            notes.append(("Database", f"{_shortest(binary('psql'))} {url}"))
        if "fakestore_url" not in settings.model_fields_set:
            port = choose_fakestore_port()
            url = f"http://localhost:{port}"
            say(f"Starting the local Fake Store at {url}")
            command = ("-m", "development.fakestore", "--port", str(port), "--public-url", url)
            stack.enter_context(supervisor.running("The Fake Store", *command))
            supervisor.environment["FAKESTORE_URL"] = f"http://127.0.0.1:{port}"
            notes.insert(0, ("Fake Store", f"{url}/ (make it slow, failing, absent)"))
            fakestore_port = port
        say("Migrating the database")
        supervisor.finish("python -m app migrate", "-m", "app", "migrate")
        if fakestore_port is not None:
            # It starts while the database is migrated.
            supervisor.wait_for(fakestore_port, "/health")
        metrics_port = settings.metrics_port
        for name, arguments in PROCESSES.items():
            say(f"Starting the {name}")
            if metrics_port is not None:
                # One for each: they run on one machine.
                supervisor.environment["METRICS_PORT"] = str(metrics_port)
                notes.append(("Metrics", f"http://localhost:{metrics_port}/metrics ({name})"))
                metrics_port += 1
            stack.enter_context(supervisor.running(f"The {name}", *arguments))
        supervisor.wait_for(settings.port, "/health/ready")
        _greet(settings.port, notes)
        try:
            while True:
                supervisor.pause()
        finally:
            say("\nStopping")


def _shortest(path: Path) -> str:
    inside = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return shlex.quote(str(inside))


def _greet(port: int, notes: list[tuple[str, str]]) -> None:
    base = f"http://localhost:{port}"
    lines = [("API", f"{base}/docs"), *notes]
    say("\n" + "\n".join(f"  {name:<12}{text}" for name, text in lines))
    say(
        "\nIt runs; Ctrl-C stops it. A first request:\n\n"
        f"curl -i {base}/auth/sign-up -H 'Content-Type: application/json' \\\n"
        """  -d '{"name": "Ana Souza", "email": "ana@example.com","""
        """ "password": "caju e maracujá"}'\n"""
    )


def _environment() -> dict[str, str]:
    # Without bytecode, every start would compile the service anew.
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def main() -> int:
    """Run everything; return 0 when asked to stop, 1 when something failed, 2 for bad settings."""
    os.chdir(ROOT)
    supervisor = Supervisor(environment=_environment(), lock=-1)
    for signum in STOP_SIGNALS:
        signal.signal(signum, supervisor.request_stop)
    # The script holds them back until here, so that none falls into the imports.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        settings = load_settings()
        supervisor.lock = hold_lock(LOCAL / "start.lock")
        check_ports(settings)
        run(supervisor, settings)
    except StopRequested:
        return 0
    except SettingsError as error:
        say(str(error))
        return 2
    except (StartError, PostgresError) as error:
        say(str(error))
    return 1


if __name__ == "__main__":
    sys.exit(main())
