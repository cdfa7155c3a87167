"""Show what customers notice of an outage of the catalog: `python -m development.outage`.

Runs a service of its own on free ports with short TTLs (two API processes, a worker, a temporary
PostgreSQL, the local Fake Store), reads steadily while the catalog works, hangs and works again,
and counts what the readers and the catalog saw. Nothing leaves this machine.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from app.settings import Settings
from development.child import Child
from development.outage_report import Measured, Phase, Sample, as_table, draw, update_page
from development.port import free_port
from development.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
READS_PER_S = 40
FAVORITES = range(1, 11)
UNKNOWN = 4711
START_S = 60.0
SETTLE_S = 30.0

# A day in half a minute: what takes 5 minutes and 24 hours by default takes 2 and 15 seconds.
SETTINGS: Mapping[str, str] = {
    "SOFT_TTL": "2",
    "HARD_TTL": "15",
    "WORKERS": "2",
    "RATE_LIMIT": "",
    "LOG_LEVEL": "WARNING",
}
PRODUCT = {"title": "Late Arrival", "price": 9.9, "description": "New.", "category": "electronics"}


class OutageError(Exception):
    """The walk cannot be made; the text says why."""


def say(text: str) -> None:
    """Tell the person at the terminal how far it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def running(environment: Mapping[str, str], directory: Path, *arguments: str) -> Generator[Child]:
    """Keep a Python program running; what it says is kept in a file beside the others."""
    with (directory / "log").open("ab") as log:
        child = Child(
            [sys.executable, *arguments], environment=environment, output=log, directory=directory
        )
        try:
            yield child
        finally:
            child.stop()


@contextmanager
def service(directory: Path) -> Generator[tuple[str, str]]:
    """Run everything; yields where the API and the Fake Store are.

    :raises OutageError: if it does not start
    """
    ours = {name.upper() for name in Settings.model_fields}
    api, store = free_port(), free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name.upper() not in ours},
        **SETTINGS,
        "PYTHONPATH": str(ROOT),
        "PORT": str(api),
        "FAKESTORE_URL": f"http://127.0.0.1:{store}",
    }
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres.temporary())
        server.create_database("favorites")
        environment["DATABASE_URL"] = server.url("favorites")
        run = partial(running, environment, directory)
        stack.enter_context(run("-m", "development.fakestore", "--port", str(store)))
        with run("-m", "app", "migrate") as migration:
            if migration.wait(START_S):
                raise OutageError((directory / "log").read_text(encoding="utf-8"))
        stack.enter_context(run("-m", "app", "serve"))
        stack.enter_context(run("-m", "app", "worker"))
        yield f"http://127.0.0.1:{api}", f"http://127.0.0.1:{store}"


@dataclass(kw_only=True)
class Walk:
    """The readers, the catalog's switches, and what was seen; times are seconds since `began`."""

    api: httpx2.AsyncClient
    store: httpx2.AsyncClient
    began: float = 0.0
    wall_clock: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)

    def now(self) -> float:
        """Return how long it has been going on."""
        return time.monotonic() - self.began

    async def prepare(self) -> None:
        """Sign a customer in, favorite some products, and let every copy be made."""
        await until(partial(self._answers, "/health/ready"), START_S)
        person = {"email": "ana@example.com", "password": "caju e maracujá"}
        (await self.api.post("/auth/sign-up", json={"name": "Ana", **person})).raise_for_status()
        signed_in = (await self.api.post("/auth/sign-in", json=person)).raise_for_status()
        self.api.headers["Authorization"] = f"Bearer {signed_in.json()['access_token']}"
        self.api.cookies.clear()
        for product_id in FAVORITES:
            answer = await self.api.put(f"/customers/me/favorites/{product_id}")
            answer.raise_for_status()
        await self.store.delete("/_control/calls")
        self.began, self.wall_clock = time.monotonic(), time.time()

    async def _answers(self, path: str) -> bool:
        with suppress(httpx2.TransportError):
            return (await self.api.get(path)).is_success
        return False

    async def read(self, seconds: float) -> None:
        """Read at a steady rate, however long answers take; a latency includes the wait for us."""
        begin = self.now()
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * READS_PER_S)):
                due = begin + number / READS_PER_S
                await asyncio.sleep(max(0.0, due - self.now()))
                product_id = FAVORITES[number // 2 % len(FAVORITES)]
                listed = number % 2 == 0
                path = "/customers/me/favorites" if listed else f"/products/{product_id}"
                group.create_task(self._read(path, due))

    async def _read(self, path: str, due: float) -> None:
        try:
            good = (await self.api.get(path)).status_code == httpx2.codes.OK
        except httpx2.TransportError:
            good = False
        self.samples.append(Sample(at_s=due, latency_s=self.now() - due, good=good))

    async def note_calls(self) -> None:
        """Take over what the catalog has counted, before its log of a thousand overflows."""
        log = (await self.store.get("/_control/calls")).json()
        await self.store.delete("/_control/calls")
        for call in log["last"]:
            moment = datetime.fromisoformat(call["at"]).timestamp()
            self.calls.append(moment - self.wall_clock)

    async def favorite(self, product_id: int) -> tuple[int, float]:
        """Favorite a product; returns the status and how long it took."""
        began = self.now()
        answer = await self.api.put(f"/customers/me/favorites/{product_id}")
        return answer.status_code, self.now() - began

    async def is_available(self, product_id: int) -> bool:
        """Tell whether a favorite has been confirmed."""
        answer = await self.api.get(f"/customers/me/favorites/{product_id}")
        return bool(answer.json().get("status") == "available")


async def until(true: Callable[[], Coroutine[Any, Any, bool]], seconds: float) -> None:
    """Wait for something to become true.

    :raises OutageError: if it does not in time
    """
    deadline = time.monotonic() + seconds
    while not await true():
        if time.monotonic() > deadline:
            raise OutageError("It takes too long.")
        await asyncio.sleep(0.05)


async def measure(api: str, store: str, durations: tuple[float, float, float]) -> Measured:
    """Walk through normal operation, an outage and recovery.

    :raises OutageError: if the service does not come up, or never recovers
    """
    limits = httpx2.Limits(max_connections=200)
    async with (
        httpx2.AsyncClient(base_url=api, timeout=15, limits=limits, trust_env=False) as to_api,
        httpx2.AsyncClient(base_url=store, timeout=15, trust_env=False) as to_store,
    ):
        walk = Walk(api=to_api, store=to_store)
        await walk.prepare()
        phases = []
        favorited = (0, 0.0)
        for name, seconds in zip(("normal", "outage", "recovery"), durations, strict=True):
            say(f"{name}: {seconds:.0f} s")
            if name == "outage":
                # New in the catalog, and nobody here has heard of it when everything stops.
                await to_store.put(f"/_control/products/{UNKNOWN}", json=PRODUCT)
                await to_store.put("/_control", json={"fault": "hang"})
            elif name == "recovery":
                await to_store.delete("/_control")
            begin = walk.now()
            async with asyncio.TaskGroup() as group:
                group.create_task(walk.read(seconds))
                if name == "outage":
                    asked = group.create_task(walk.favorite(UNKNOWN))
                elif name == "recovery":
                    group.create_task(until(partial(walk.is_available, UNKNOWN), SETTLE_S))
            if name == "outage":
                favorited = asked.result()
            await walk.note_calls()
            phases.append(Phase(name=name, begin_s=begin, end_s=walk.now()))
    return Measured(phases=phases, samples=walk.samples, calls=walk.calls, favorited=favorited)


def main() -> int:
    """Run the walk, print its table, and renew the plot and the numbers in the documentation."""
    parser = argparse.ArgumentParser(prog="python -m development.outage", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="5 s, 10 s and 5 s in place of 20, 60 and 20; writes to .local/ only",
    )
    quick: bool = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="favorites-outage-") as directory:
        try:
            with service(Path(directory)) as (api, store):
                say(f"API {api}, Fake Store {store}")
                durations = (5.0, 10.0, 5.0) if quick else (20.0, 60.0, 20.0)
                measured = asyncio.run(measure(api, store, durations))
        except OutageError as error:
            say(str(error))
            return 1
    target = ROOT / (".local" if quick else "docs") / "outage.svg"
    target.parent.mkdir(exist_ok=True)
    target.write_text(draw(measured), encoding="utf-8")
    target.with_suffix(".json").write_text(
        json.dumps(measured.numbers(), indent=2) + "\n", encoding="utf-8"
    )
    if not quick:
        update_page(ROOT / "docs" / "resilience.md", as_table(measured))
    say(f"\n{as_table(measured)}\n\nThe plot is {target.relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
