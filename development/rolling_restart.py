"""
Restart the API replicas behind the gateway one after the other, under load.

    docker compose --profile scale up --build --wait
    python -m development.rolling_restart

Meanwhile customers sign in, read and write through the gateway, each on separate connections.
Failures are: an unsuccessful status, a missing answer, and a favorite that was acknowledged and is
missing afterwards. Exits with status 1 if there is one. The defaults stay within RATE_LIMIT;
SIGN_UP_LIMIT_IP allows two runs per hour.
"""

import argparse
import asyncio
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import httpx2

REPLICAS = ("api-1", "api-2")
PASSWORD = "caju e maracujá"  # noqa: S105 - of accounts that are erased in the end
PRODUCTS = 20
SIGN_IN_EVERY = 4

# The gateway retries a replica two seconds after a failure (`fail_timeout`). The other one must
# not stop before that.
SETTLE_S = 4.0


@dataclass(kw_only=True)
class Tally:
    """The results of all requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)

    async def request(
        self, client: httpx2.AsyncClient, method: str, path: str, **json: object
    ) -> httpx2.Response | None:
        """Make a request and count it; return None if there is no answer."""
        began = time.monotonic()
        try:
            answer = await client.request(method, path, json=json or None)
        except httpx2.HTTPError as error:
            self.failures.append(f"{method} {path}: {error!r}")
            return None
        self.durations_s.append(time.monotonic() - began)
        self.statuses[answer.status_code] += 1
        if not answer.is_success:
            self.failures.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer

    def quantile_s(self, share: float) -> float:
        """Return the duration that this share of the requests did not exceed."""
        ordered = sorted(self.durations_s)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Customer:
    """A customer who changes and lists their favorites until a stop."""

    def __init__(self, url: str, tally: Tally) -> None:
        self._client = httpx2.AsyncClient(base_url=url, timeout=20)
        self._tally = tally
        self._kept: set[int] = set()
        self._account = {"email": f"rolling-{uuid4().hex}@example.com", "password": PASSWORD}

    async def sign_up(self) -> None:
        """Create an account and sign in."""
        answer = await self._client.post(
            "/auth/sign-up", json={**self._account, "name": "Rolling"}
        )
        answer.raise_for_status()
        await self._sign_in()

    async def _sign_in(self) -> None:
        """Start a new session and use it from now on."""
        answer = await self._tally.request(self._client, "POST", "/auth/sign-in", **self._account)
        # Use the token, not the cookie.
        self._client.cookies.clear()
        if answer is not None and answer.is_success:
            self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def use_service(self, stop: asyncio.Event, pause_s: float) -> None:
        """Make requests until a stop; remember the acknowledged favorites."""
        step = 0
        while not stop.is_set():
            step += 1
            if step % SIGN_IN_EVERY == 0:
                await self._sign_in()
            product = step % PRODUCTS + 1
            path = f"/customers/me/favorites/{product}"
            if product in self._kept:
                removed = await self._tally.request(self._client, "DELETE", path)
                if removed is not None and removed.status_code == 204:
                    self._kept.discard(product)
            else:
                # POST, because the gateway never sends it twice.
                added = await self._tally.request(self._client, "POST", path)
                if added is not None and added.status_code in {200, 201, 202}:
                    self._kept.add(product)
            await self._tally.request(self._client, "GET", "/customers/me/favorites?limit=5")
            await self._tally.request(self._client, "GET", "/products?limit=5")
            await asyncio.sleep(pause_s)

    async def verify(self) -> None:
        """Compare acknowledged and stored favorites, and erase the account."""
        answer = await self._client.get("/customers/me/favorites?limit=100")
        stored = {item["product_id"] for item in answer.raise_for_status().json()["items"]}
        if stored != self._kept:
            self._tally.failures.append(f"acknowledged {self._kept}, stored {stored}")
        (await self._client.delete("/customers/me")).raise_for_status()
        await self._client.aclose()


async def rolling_restart(
    url: str, compose: Sequence[str], *, customers: int, pause_s: float
) -> Tally:
    """Restart each replica once while customers use the service; return the results."""
    tally, stop = Tally(), asyncio.Event()
    all_customers = [Customer(url, tally) for _ in range(customers)]
    for customer in all_customers:
        await customer.sign_up()
    async with asyncio.TaskGroup() as load:
        for customer in all_customers:
            load.create_task(customer.use_service(stop, pause_s))
        try:
            await asyncio.sleep(SETTLE_S)
            for replica in REPLICAS:
                began = time.monotonic()
                await _run(*compose, "stop", replica)
                stopped = time.monotonic()
                # `--wait` returns when the replica is ready.
                await _run(*compose, "up", "--no-deps", "--no-recreate", "--wait", replica)
                print(  # noqa: T201 - console output
                    f"{replica}: stopped in {stopped - began:.1f} s,"
                    f" ready {time.monotonic() - stopped:.1f} s later"
                )
                await asyncio.sleep(SETTLE_S)
        finally:
            stop.set()
    for customer in all_customers:
        await customer.verify()
    return tally


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, error = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{error.decode(errors='replace')}")


def main() -> None:
    """Read the command line, restart, and print the results."""
    parser = argparse.ArgumentParser(description="Restart the replicas one by one, under load.")
    parser.add_argument("--url", default="http://localhost:8088", help="URL of the gateway")
    parser.add_argument("--customers", type=int, default=8, help="number of concurrent customers")
    parser.add_argument(
        "--pause", type=float, default=0.7, help="seconds between the requests of a customer"
    )
    parser.add_argument(
        "--compose", default="docker compose --profile scale", help="command that runs compose"
    )
    options = parser.parse_args()
    tally = asyncio.run(
        rolling_restart(
            options.url,
            options.compose.split(),
            customers=options.customers,
            pause_s=options.pause,
        )
    )
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(tally.statuses.items()))
    print(  # noqa: T201 - console output
        f"{sum(tally.statuses.values())} requests ({statuses}), {len(tally.failures)} failed;"
        f" p50 {tally.quantile_s(0.5) * 1000:.0f} ms,"
        f" p99 {tally.quantile_s(0.99) * 1000:.0f} ms,"
        f" slowest {tally.quantile_s(1) * 1000:.0f} ms"
    )
    for failure in tally.failures[:20]:
        print(failure)  # noqa: T201 - console output
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
