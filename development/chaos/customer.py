"""Clients that use the service during a run, and record the answers."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

from development.chaos.deployment import KNOWN_PRODUCTS
from development.chaos.expectation import ExpectedList
from development.chaos.ledger import Entry, Verdict
from development.chaos.load import PAUSE_S, Load
from development.chaos.program import ChaosError

PASSWORD = "caju e maracujá"  # noqa: S105 - of accounts in a temporary directory


@dataclass(kw_only=True)
class Customer:
    """A customer who changes and reads their favorites, and checks what they read."""

    load: Load
    email: str
    random: Random
    token: str = ""
    id: str = ""
    expected: ExpectedList = field(init=False)
    in_flight_until: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.expected = ExpectedList(nonexistent=self.load.deployment.nonexistent)

    async def sign_up_and_in(self) -> None:
        """
        Create an account and sign in, before the first fault.

        :raises ChaosError: if the service does not answer
        """
        if await sign_up(self.load, self.email) is not Verdict.ACKNOWLEDGED:
            raise ChaosError("a sign-up failed before the first fault")
        answer = await self.load.request(
            "POST", "/auth/sign-in", json={"email": self.email, "password": PASSWORD}
        )
        if answer is None or not answer.is_success:
            raise ChaosError("a sign-in failed before the first fault")
        self.token = answer.json()["access_token"]
        self.id = answer.json()["customer"]["id"]

    async def use_service(self, pause_s: float) -> None:
        """Make requests until the load stops, with pauses of this mean."""
        while not self.load.stopping.is_set():
            await self._act()
            await asyncio.sleep(self.random.uniform(0, 2 * pause_s))

    async def _act(self) -> None:
        available = self._available_products()
        chance = self.random.random()
        if len(available) < 6 or chance < 0.25:
            await self._read()
        elif chance < 0.55:
            await self.add(self.random.choice(available[-8:] if chance < 0.35 else available))
        elif chance < 0.8:
            present = [
                p for p, expectation in self.expected.expectations.items() if expectation.present
            ]
            wanted = [p for p in present if p in available]
            await self.remove(self.random.choice(wanted or available))
        elif chance < 0.97:
            await self._batch(self.random.sample(available, k=self.random.randint(2, 6)))
        else:
            # In an outage of the catalog it is accepted, and rejected later.
            await self.add(self.load.deployment.nonexistent_product())

    def _available_products(self) -> list[int]:
        """Return the products that have no write in flight, newest last."""
        now = time.monotonic()
        return [
            p for p in self.load.deployment.products if self.in_flight_until.get(p, 0.0) <= now
        ]

    async def add(self, product_id: int) -> int | None:
        """Favorite a product; return the status."""
        # The answer to a repeated PUT may be that of the second request.
        method = "POST" if self.load.deployment.may_repeat else "PUT"
        answer, began = await self._send(method, f"/customers/me/favorites/{product_id}")
        await self._note(answer, began, add=(product_id,))
        return answer.status_code if answer else None

    async def remove(self, product_id: int) -> None:
        """Remove a favorite."""
        answer, began = await self._send("DELETE", f"/customers/me/favorites/{product_id}")
        await self._note(answer, began, remove=(product_id,))

    async def _batch(self, products: Sequence[int]) -> None:
        half = self.random.randint(0, len(products))
        add, remove = tuple(products[:half]), tuple(products[half:])
        answer, began = await self._send(
            "POST",
            "/customers/me/favorites/batch",
            json={"add": list(add), "remove": list(remove)},
        )
        results = (
            {str(each["product_id"]): each["result"] for each in answer.json()["items"]}
            if answer and answer.is_success
            else {}
        )
        await self._note(answer, began, add=add, remove=remove, batch=True, results=results)

    async def _send(
        self, method: str, path: str, **options: Any
    ) -> tuple[httpx2.Response | None, float]:
        began = time.time()
        # 404: the product does not exist; 409: too many favorites are pending.
        answer = await self.load.request(
            method, path, token=self.token, allowed=_ALLOWED.get(method, ()), **options
        )
        return answer, began

    async def _note(self, answer: httpx2.Response | None, began: float, **write: Any) -> None:
        entry = Entry(
            email=self.email,
            began=began,
            ended=time.time(),
            status=answer.status_code if answer else None,
            **write,
        )
        await self.load.ledger.note(entry)
        # The comparison at the end finds contradictions too, but not their moment.
        self.load.failures += self.expected.note(entry)
        if answer is not None and answer.status_code == 404 and not self._is_nonexistent(entry):
            self.load.failures.append(f"{self.email}: product {entry.add} was answered 404")
        if entry.verdict is Verdict.UNKNOWN:
            for product_id in (*entry.add, *entry.remove):
                self.in_flight_until[product_id] = (
                    time.monotonic() + self.load.deployment.in_flight_s
                )

    def _is_nonexistent(self, entry: Entry) -> bool:
        return all(product_id in self.load.deployment.nonexistent for product_id in entry.add)

    async def _read(self) -> None:
        """Check that the profile has the customer's own writes and no others."""
        answer, _ = await self._send("GET", "/customers/me/profile?limit=100")
        if answer is None or not answer.is_success:
            return
        body = answer.json()
        if body["customer"]["id"] != self.id or body["customer"]["email"] != self.email:
            self.load.failures.append(f"{self.email} was shown {body['customer']}")
        found = [item["product_id"] for item in body["favorites"]["items"]]
        if len({*found}) != len(found):
            self.load.failures.append(f"{self.email}: the list has a product twice: {found}")
        whole = "next" not in body["favorites"]
        self.load.failures += (
            f"{self.email} read: {fault}"
            for fault in self.expected.contradictions(found, whole=whole)
        )


_ALLOWED: Mapping[str, Collection[int]] = {"PUT": (404, 409), "POST": (404, 409)}


async def sign_up(load: Load, email: str) -> Verdict:
    """Create an account; repeat the attempt once if its outcome is unknown."""
    entry = None
    for _ in range(2):
        began = time.time()
        answer = await load.request(
            "POST",
            "/auth/sign-up",
            json={"name": "Chaos", "email": email, "password": PASSWORD},
            allowed=(409,) if entry else (),
        )
        status = answer.status_code if answer else None
        entry = Entry(email=email, began=began, ended=time.time(), status=status)
        await load.ledger.note(entry)
        if entry.verdict is not Verdict.UNKNOWN:
            return entry.verdict
    return Verdict.UNKNOWN


async def sign_up_repeatedly(load: Load, pause_s: float) -> None:
    """Create new accounts until the load stops."""
    number = 0
    while not load.stopping.is_set():
        number += 1
        await sign_up(load, f"newcomer-{number}@example.com")
        await asyncio.sleep(pause_s)


async def sign_in_repeatedly(customer: Customer, pause_s: float) -> None:
    """Sign a customer in until the load stops, and read with each new session."""
    load = customer.load
    while not load.stopping.is_set():
        answer = await load.request(
            "POST", "/auth/sign-in", json={"email": customer.email, "password": PASSWORD}
        )
        if answer is not None and answer.is_success:
            # 401 would be a failure: an issued token stays valid during every fault.
            token = answer.json()["access_token"]
            await load.request("GET", "/customers/me/favorites?limit=5", token=token)
        await asyncio.sleep(pause_s)


async def read_products(load: Load) -> None:
    """Read products without credentials until the load stops."""
    while not load.stopping.is_set():
        product_id = load.random.choice(load.deployment.products)
        known = product_id in KNOWN_PRODUCTS
        path = f"/products/{product_id}" if known else "/products?limit=20"
        await load.request("GET", path)
        await asyncio.sleep(PAUSE_S)


async def read_concurrently(customer: Customer, count: int) -> None:
    """Read a list many times at once."""
    await asyncio.gather(
        *(
            customer.load.request("GET", "/customers/me/favorites", token=customer.token)
            for _ in range(count)
        )
    )
