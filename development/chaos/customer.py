"""Those who use the service all the while, and note what they are told."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

from development.chaos.account import Account
from development.chaos.ledger import Entry, Verdict
from development.chaos.load import PAUSE_S, Load
from development.chaos.program import ChaosError
from development.chaos.world import KNOWN_PRODUCTS

PASSWORD = "caju e maracujá"  # noqa: S105 - of accounts in a temporary directory


@dataclass(kw_only=True)
class Customer:
    """Somebody who favorites, removes and lists, one after the other, and remembers all of it."""

    load: Load
    email: str
    random: Random
    token: str = ""
    id: str = ""
    account: Account = field(init=False)
    doubtful: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.account = Account(invented=self.load.world.invented)

    async def join(self) -> None:
        """
        Sign up and in, while all is well.

        :raises ChaosError: if all is not well
        """
        if await sign_up(self.load, self.email) is not Verdict.ACKNOWLEDGED:
            raise ChaosError("nobody can sign up")
        answer = await self.load.request(
            "POST", "/auth/sign-in", json={"email": self.email, "password": PASSWORD}
        )
        if answer is None or not answer.is_success:
            raise ChaosError("nobody can sign in")
        self.token = answer.json()["access_token"]
        self.id = answer.json()["customer"]["id"]

    async def live(self, pause_s: float) -> None:
        """Use the service until the end; `pause_s` is the mean one between two turns."""
        while not self.load.stopping.is_set():
            await self._turn()
            await asyncio.sleep(self.random.uniform(0, 2 * pause_s))

    async def _turn(self) -> None:
        free = self._free()
        dice = self.random.random()
        if len(free) < 6 or dice < 0.25:
            await self._read()
        elif dice < 0.55:
            await self.add(self.random.choice(free[-8:] if dice < 0.35 else free))
        elif dice < 0.8:
            present = [p for p, belief in self.account.beliefs.items() if belief.present]
            wanted = [p for p in present if p in free]
            await self.remove(self.random.choice(wanted or free))
        elif dice < 0.97:
            await self._batch(self.random.sample(free, k=self.random.randint(2, 6)))
        else:
            # Without the catalog it is taken, and rejected when that is back.
            await self.add(self.load.world.invent_product())

    def _free(self) -> list[int]:
        """Return the products of which nothing is under way any more, newest last."""
        now = time.monotonic()
        return [p for p in self.load.world.products if self.doubtful.get(p, 0.0) <= now]

    async def add(self, product_id: int) -> int | None:
        """Favorite a product; returns the status."""
        # A PUT that was sent twice may be answered that it was a favorite before: by the first.
        method = "POST" if self.load.world.may_be_repeated else "PUT"
        answer, began = await self._ask(method, f"/customers/me/favorites/{product_id}")
        await self._note(answer, began, add=(product_id,))
        return answer.status_code if answer else None

    async def remove(self, product_id: int) -> None:
        """Take a product off the favorites."""
        answer, began = await self._ask("DELETE", f"/customers/me/favorites/{product_id}")
        await self._note(answer, began, remove=(product_id,))

    async def _batch(self, products: Sequence[int]) -> None:
        half = self.random.randint(0, len(products))
        add, remove = tuple(products[:half]), tuple(products[half:])
        answer, began = await self._ask(
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

    async def _ask(
        self, method: str, path: str, **options: Any
    ) -> tuple[httpx2.Response | None, float]:
        began = time.time()
        # 404 is the answer to what is invented, 409 to too many that wait.
        answer = await self.load.request(
            method, path, token=self.token, refusals=_DUE.get(method, ()), **options
        )
        return answer, began

    async def _note(self, answer: httpx2.Response | None, began: float, **write: Any) -> None:
        entry = Entry(
            who=self.email,
            began=began,
            ended=time.time(),
            status=answer.status_code if answer else None,
            **write,
        )
        await self.load.ledger.note(entry)
        # The comparison at the end finds contradictions as well; here they have a moment.
        self.load.failures += self.account.note(entry)
        if answer is not None and answer.status_code == 404 and not self._invented(entry):
            self.load.failures.append(f"{self.email}: product {entry.add} is not known")
        if entry.verdict is Verdict.UNKNOWN:
            for product_id in (*entry.add, *entry.remove):
                self.doubtful[product_id] = time.monotonic() + self.load.world.doubt_s

    def _invented(self, entry: Entry) -> bool:
        return all(product_id in self.load.world.invented for product_id in entry.add)

    async def _read(self) -> None:
        """Read one's own writes, and nobody else's."""
        answer, _ = await self._ask("GET", "/customers/me/profile?limit=100")
        if answer is None or not answer.is_success:
            return
        body = answer.json()
        if body["customer"]["id"] != self.id or body["customer"]["email"] != self.email:
            self.load.failures.append(f"{self.email} was shown {body['customer']}")
        found = [item["product_id"] for item in body["favorites"]["items"]]
        if len({*found}) != len(found):
            self.load.failures.append(f"{self.email}: the list names a product twice: {found}")
        whole = "next" not in body["favorites"]
        self.load.failures += (
            f"{self.email} read: {fault}"
            for fault in self.account.contradictions(found, whole=whole)
        )


_DUE: Mapping[str, Collection[int]] = {"PUT": (404, 409), "POST": (404, 409)}


async def sign_up(load: Load, email: str) -> Verdict:
    """Open an account; a try of unknown outcome is followed by another."""
    entry = None
    for _ in range(2):
        began = time.time()
        answer = await load.request(
            "POST",
            "/auth/sign-up",
            json={"name": "Chaos", "email": email, "password": PASSWORD},
            refusals=(409,) if entry else (),
        )
        status = answer.status_code if answer else None
        entry = Entry(who=email, began=began, ended=time.time(), status=status)
        await load.ledger.note(entry)
        if entry.verdict is not Verdict.UNKNOWN:
            return entry.verdict
    return Verdict.UNKNOWN


async def newcomers(load: Load, pause_s: float) -> None:
    """Let new people sign up until the end."""
    number = 0
    while not load.stopping.is_set():
        number += 1
        await sign_up(load, f"newcomer-{number}@example.com")
        await asyncio.sleep(pause_s)


async def returning(customer: Customer, pause_s: float) -> None:
    """Let a customer sign in again and again until the end, and read with the new session."""
    load = customer.load
    while not load.stopping.is_set():
        answer = await load.request(
            "POST", "/auth/sign-in", json={"email": customer.email, "password": PASSWORD}
        )
        if answer is not None and answer.is_success:
            # 401 would be a failure: what has been handed out is good, whatever happens.
            token = answer.json()["access_token"]
            await load.request("GET", "/customers/me/favorites?limit=5", token=token)
        await asyncio.sleep(pause_s)


async def visitors(load: Load) -> None:
    """Look at products until the end, as nobody in particular."""
    while not load.stopping.is_set():
        product_id = load.random.choice(load.world.products)
        known = product_id in KNOWN_PRODUCTS
        path = f"/products/{product_id}" if known else "/products?limit=20"
        await load.request("GET", path)
        await asyncio.sleep(PAUSE_S)


async def crowd(customer: Customer, size: int) -> None:
    """Read a list many times at once."""
    await asyncio.gather(
        *(
            customer.load.request("GET", "/customers/me/favorites", token=customer.token)
            for _ in range(size)
        )
    )
