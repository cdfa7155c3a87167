"""Run everything on this machine, until Ctrl-C: `development/start`.

Starts in this order, and stops in reverse: PostgreSQL (unless DATABASE_URL is set), the local
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

# The processes that run after the migration, in order: name and command.
PROCESSES: Mapping[str, tuple[str, ...]] = {
    "API": ("-m", "app", "serve"),
    "worker": ("-m", "app", "worker"),
}


class StartError(Exception):
    """Something cannot start; the text is for the user."""


class StopRequested(Exception):
    """A signal requested a stop."""


def say(text: str) -> None:
    """Write a line to the terminal, which may be closed by now."""
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


@dataclass
class Supervisor:
    """Starts programs in sequence; stops all when one of them ends or a signal arrives."""

    environment: dict[str, str]
    lock: int
    children: dict[str, Child] = field(default_factory=dict)
    postgres: EmbeddedPostgres | None = None
    stopping: bool = False

    def request_stop(self, _signum: int, _frame: FrameType | None) -> None:
        """Record a signal; `check` acts on it at the next safe moment."""
        self.stopping = True

    def check(self) -> None:
        """Check for signals and for programs that have ended.

        :raises StopRequested: if a signal requested a stop
        :raises StartError: if a program ended by itself
        """
        if self.stopping:
            raise StopRequested
        if self.postgres and self.postgres.exit_status is not None:
            raise StartError(f"PostgreSQL has stopped; its log is {self.postgres.log}.")
        for name, child in self.children.items():
            if (status := child.exit_status) is not None:
                raise StartError(f"{name} ended with status {status}.")

    def pause(self) -> None:
        """Wait a moment, then `check`."""
        time.sleep(POLL_S)
        self.check()

    def spawn(self, *arguments: str) -> Child:
        """Start Python with these arguments."""
        return Child(
            [sys.executable, *arguments],
            environment=self.environment,
            directory=ROOT,
            keep_open=(self.lock,),
        )

    @contextmanager
    def running(self, name: str, *arguments: str) -> Generator[None]:
        """Run a program as long as the context lasts."""
        self.check()
        child = self.children[name] = self.spawn(*arguments)
        try:
            yield
        finally:
            del self.children[name]
            child.stop()

    def finish(self, name: str, *arguments: str) -> None:
        """Run a program until it ends.

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
    """Return whether a path on this machine answers 200 now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def hold_lock(path: Path) -> int:
    """Take the lock of this checkout and return its descriptor.

    The watchers of our programs inherit it. After a kill of this process the lock is free as soon
    as they have stopped the programs.

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
                raise StartError(
                    f"It is already running in this checkout (process {holder})."
                ) from None
            if not waited:
                waited = True
                say("Waiting for the programs of a killed start to stop")
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
    """Check that the service can listen.

    :raises StartError: if one of its ports is in use
    """
    for name, port in (("PORT", settings.port), ("METRICS_PORT", settings.metrics_port)):
        if port and not port_is_free(port, settings.host):
            raise StartError(
                f"Port {port} is in use by another program: stop it, or change {name}."
            )


def choose_fakestore_port() -> int:
    """Return FAKESTORE_PORT from the environment or `.env`, or a free one.

    :raises StartError: if the configured one is invalid or in use
    """
    configured = os.environ.get("FAKESTORE_PORT") or dotenv_values(ROOT / ".env").get(
        "FAKESTORE_PORT"
    )
    if not configured:
        return FAKESTORE_PORT if port_is_free(FAKESTORE_PORT) else free_port()
    if not (configured.isascii() and configured.isdecimal() and 0 < int(configured) < 65536):
        raise StartError(f"FAKESTORE_PORT is not a port: {configured}")
    if not port_is_free(int(configured)):
        raise StartError(f"Port {configured} is in use by another program: change FAKESTORE_PORT.")
    return int(configured)


def run(supervisor: Supervisor, settings: Settings) -> None:
    """Start everything, print the URLs, and run until a signal."""
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
            notes.insert(0, ("Fake Store", f"{url}/ (switches for delays, errors and outages)"))
            fakestore_port = port
        say("Migrating the database")
        supervisor.finish("python -m app migrate", "-m", "app", "migrate")
        if fakestore_port is not None:
            # It has started in parallel with the migration.
            supervisor.wait_for(fakestore_port, "/health")
        metrics_port = settings.metrics_port
        for name, arguments in PROCESSES.items():
            say(f"Starting the {name}")
            if metrics_port is not None:
                # A port for each process, because they share this machine.
                supervisor.environment["METRICS_PORT"] = str(metrics_port)
                notes.append(("Metrics", f"http://localhost:{metrics_port}/metrics ({name})"))
                metrics_port += 1
            stack.enter_context(supervisor.running(f"The {name}", *arguments))
        supervisor.wait_for(settings.port, "/health/ready")
        _print_urls(settings.port, notes)
        try:
            while True:
                supervisor.pause()
        finally:
            say("\nStopping")


def _shortest(path: Path) -> str:
    inside = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return shlex.quote(str(inside))


def _print_urls(port: int, notes: list[tuple[str, str]]) -> None:
    base = f"http://localhost:{port}"
    lines = [("API", f"{base}/docs"), *notes]
    say("\n" + "\n".join(f"  {name:<12}{text}" for name, text in lines))
    say(
        "\nRunning; Ctrl-C stops it. A first request:\n\n"
        f"curl -i {base}/auth/sign-up -H 'Content-Type: application/json' \\\n"
        """  -d '{"name": "Ana Souza", "email": "ana@example.com","""
        """ "password": "caju e maracujá"}'\n"""
    )


def _environment() -> dict[str, str]:
    # Without bytecode, every start would compile the service again.
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def main() -> int:
    """Run everything; return 0 after a signal, 1 after a failure, 2 for invalid settings."""
    os.chdir(ROOT)
    supervisor = Supervisor(environment=_environment(), lock=-1)
    for signum in STOP_SIGNALS:
        signal.signal(signum, supervisor.request_stop)
    # The script blocks signals until here, so that none interrupts the imports.
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
