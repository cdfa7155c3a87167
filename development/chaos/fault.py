"""Faults, and what the faults of all deployments have in common."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Generic, TypeAlias, TypeVar

from development.chaos.customer import Customer
from development.chaos.deployment import Deployment
from development.chaos.load import Load

WITHIN_S = 60.0

TDeployment = TypeVar("TDeployment", bound=Deployment)

Condition: TypeAlias = Callable[[], Coroutine[Any, Any, bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultContext(Generic[TDeployment]):
    """What a fault acts on; only faults make writes for this `customer`."""

    deployment: TDeployment
    load: Load
    customer: Customer
    random: Random


Injector: TypeAlias = Callable[[FaultContext[TDeployment]], Awaitable[Condition]]

# The title of each fault in the report, and the function that injects it. The function disturbs
# the deployment and returns a condition that is true after recovery.
Faults: TypeAlias = Mapping[str, tuple[str, Injector[TDeployment]]]


async def disturb_catalog(
    context: FaultContext[TDeployment], *, lasts_s: tuple[float, float], **switches: Any
) -> Condition:
    """Let the catalog misbehave for a while, in which a customer favorites an unknown product."""
    deployment = context.deployment
    await asyncio.to_thread(partial(deployment.store.misbehave, **switches))
    for _ in range(3):
        await deployment.add_product(deployment.next_product())
    await context.customer.add(deployment.products[-1])
    await asyncio.sleep(context.random.uniform(*lasts_s))
    await asyncio.to_thread(deployment.store.behave)
    return partial(settled, deployment)


async def settled(deployment: Deployment) -> bool:
    """Return whether no favorite is pending, and no job validates one."""
    waiting = await deployment.sql(
        "SELECT (SELECT count(*) FROM favorites"
        " WHERE snapshot_title IS NULL AND rejected_at IS NULL)"
        " + (SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'validate_product')"
    )
    return waiting == [(0,)]


async def already_recovered() -> bool:
    """Return True: the end of the fault is also the recovery."""
    return True


def draw_faults(names: Collection[str], count: int, *, seed: int) -> list[str]:
    """Return a random sequence of faults; each occurs once before any occurs again."""
    random = Random(seed)  # noqa: S311 - repeatable, not secret
    found: list[str] = []
    while len(found) < count:
        found += random.sample(sorted(names), k=len(names))
    return found[:count]
