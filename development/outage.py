"""Measure how an outage of the catalog affects customers: `python -m development.outage`.

Runs a separate service on free ports with short TTLs (two API processes, a worker, a temporary
PostgreSQL, the local Fake Store). Reads at a steady rate while the catalog works, hangs and works
again, and measures the reads and the calls of the catalog. No traffic leaves this machine.
"""

import argparse
import asyncio
import json
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

from development.outage_report import Measured, Phase, Sample, as_table, draw
from development.page import update_page
from development.port import free_port
from development.postgres import EmbeddedPostgres
from development.service import ROOT, ServiceError, migrate, running, say, service_environment

READS_PER_S = 40
FAVORITES = range(1, 11)
UNKNOWN = 4711
START_S = 60.0
SETTLE_S = 30.0

# The defaults are 5 minutes and 24 hours: a day of the cache passes in half a minute.
SETTINGS: Mapping[str, str] = {
    "SOFT_TTL": "2",
    "HARD_TTL": "15",
    "WORKERS": "2",
    "RATE_LIMIT": "",
    "LOG_LEVEL": "WARNING",
}
PRODUCT = {"title": "Late Arrival", "price": 9.9, "description": "New.", "category": "electronics"}


@contextmanager
def service(directory: Path) -> Generator[tuple[str, str]]:
    """Run everything; yield the URLs of the API and of the Fake Store.

    :raises ServiceError: if it does not start
    """
    api, store = free_port(), free_port()
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres.temporary())
        server.create_database("favorites")
        environment = service_environment(
            {
                **SETTINGS,
                "PORT": str(api),
                "FAKESTORE_URL": f"http://127.0.0.1:{store}",
                "DATABASE_URL": server.url("favorites"),
            }
        )
        run = partial(running, environment, directory)
        stack.enter_context(run("-m", "development.fakestore", "--port", str(store)))
        migrate(environment, directory)
        stack.enter_context(run("-m", "app", "serve"))
        stack.enter_context(run("-m", "app", "worker"))
        yield f"http://127.0.0.1:{api}", f"http://127.0.0.1:{store}"


@dataclass(kw_only=True)
class Measurement:
    """Clients of the API and the catalog, and what they saw; times are seconds since `began`."""

    api: httpx2.AsyncClient
    store: httpx2.AsyncClient
    began: float = 0.0
    wall_clock: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self.began

    async def prepare(self) -> None:
        """Sign a customer in and add the favorites, which fills the cache."""
        await until(partial(self._succeeds, "/health/ready"), START_S)
        account = {"email": "ana@example.com", "password": "caju e maracujá"}
        (await self.api.post("/auth/sign-up", json={"name": "Ana", **account})).raise_for_status()
        signed_in = (await self.api.post("/auth/sign-in", json=account)).raise_for_status()
        self.api.headers["Authorization"] = f"Bearer {signed_in.json()['access_token']}"
        self.api.cookies.clear()
        for product_id in FAVORITES:
            answer = await self.api.put(f"/customers/me/favorites/{product_id}")
            answer.raise_for_status()
        await self.store.delete("/_control/calls")
        self.began, self.wall_clock = time.monotonic(), time.time()

    async def _succeeds(self, path: str) -> bool:
        with suppress(httpx2.TransportError):
            return (await self.api.get(path)).is_success
        return False

    async def read(self, seconds: float) -> None:
        """Read at a steady rate; latencies count from the moment a read was due."""
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
        """Take over the calls that the catalog has logged, before its log is full."""
        log = (await self.store.get("/_control/calls")).json()
        await self.store.delete("/_control/calls")
        for call in log["last"]:
            moment = datetime.fromisoformat(call["at"]).timestamp()
            self.calls.append(moment - self.wall_clock)

    async def favorite(self, product_id: int) -> tuple[int, float]:
        """Favorite a product; return the status and the duration in seconds."""
        began = self.now()
        answer = await self.api.put(f"/customers/me/favorites/{product_id}")
        return answer.status_code, self.now() - began

    async def is_available(self, product_id: int) -> bool:
        """Return whether a favorite has been confirmed."""
        answer = await self.api.get(f"/customers/me/favorites/{product_id}")
        return bool(answer.json().get("status") == "available")


async def until(condition: Callable[[], Coroutine[Any, Any, bool]], seconds: float) -> None:
    """Wait until a condition is true.

    :raises ServiceError: if it takes longer than these seconds
    """
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise ServiceError(f"The service was not ready within {seconds:.0f} s.")
        await asyncio.sleep(0.05)


async def measure(api: str, store: str, durations: tuple[float, float, float]) -> Measured:
    """Measure normal operation, an outage and recovery.

    :raises ServiceError: if the service does not start or does not recover
    """
    limits = httpx2.Limits(max_connections=200)
    async with (
        httpx2.AsyncClient(base_url=api, timeout=15, limits=limits, trust_env=False) as to_api,
        httpx2.AsyncClient(base_url=store, timeout=15, trust_env=False) as to_store,
    ):
        measurement = Measurement(api=to_api, store=to_store)
        await measurement.prepare()
        phases = []
        favorited = (0, 0.0)
        for name, seconds in zip(("normal", "outage", "recovery"), durations, strict=True):
            say(f"{name}: {seconds:.0f} s")
            if name == "outage":
                # New in the catalog, and not cached when the catalog stops answering.
                await to_store.put(f"/_control/products/{UNKNOWN}", json=PRODUCT)
                await to_store.put("/_control", json={"fault": "hang"})
            elif name == "recovery":
                await to_store.delete("/_control")
            begin = measurement.now()
            async with asyncio.TaskGroup() as group:
                group.create_task(measurement.read(seconds))
                if name == "outage":
                    added = group.create_task(measurement.favorite(UNKNOWN))
                elif name == "recovery":
                    group.create_task(until(partial(measurement.is_available, UNKNOWN), SETTLE_S))
            if name == "outage":
                favorited = added.result()
            await measurement.note_calls()
            phases.append(Phase(name=name, begin_s=begin, end_s=measurement.now()))
    return Measured(
        phases=phases, samples=measurement.samples, calls=measurement.calls, favorited=favorited
    )


def main() -> int:
    """Measure, print the table, and update the plot and the figures in the documentation."""
    parser = argparse.ArgumentParser(prog="python -m development.outage", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="5 s, 10 s and 5 s instead of 20, 60 and 20; writes to .local/ only",
    )
    quick: bool = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="favorites-outage-") as directory:
        try:
            with service(Path(directory)) as (api, store):
                say(f"API {api}, Fake Store {store}")
                durations = (5.0, 10.0, 5.0) if quick else (20.0, 60.0, 20.0)
                measured = asyncio.run(measure(api, store, durations))
        except ServiceError as error:
            say(str(error))
            return 1
    target = ROOT / (".local" if quick else "docs") / "outage.svg"
    target.parent.mkdir(exist_ok=True)
    target.write_text(draw(measured), encoding="utf-8")
    target.with_suffix(".json").write_text(
        json.dumps(measured.numbers(), indent=2) + "\n", encoding="utf-8"
    )
    if not quick:
        update_page(ROOT / "docs" / "resilience.md", as_table(measured), part="outage")
    say(f"\n{as_table(measured)}\n\nThe plot is {target.relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
