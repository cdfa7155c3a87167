"""Where faults happen, and what faults of every world have in common."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Generic, TypeAlias, TypeVar

from development.chaos.customer import Customer
from development.chaos.load import Load
from development.chaos.world import World

WITHIN_S = 60.0

TWorld = TypeVar("TWorld", bound=World)

Condition: TypeAlias = Callable[[], Coroutine[Any, Any, bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene(Generic[TWorld]):
    """Where a fault happens; `witness` is a customer whom nobody else acts for."""

    world: TWorld
    load: Load
    witness: Customer
    random: Random


Strike: TypeAlias = Callable[[Scene[TWorld]], Awaitable[Condition]]

# What a fault is called in the report, and what it does: it disturbs the world for a while, and
# says when all is well again.
Faults: TypeAlias = Mapping[str, tuple[str, Strike[TWorld]]]


async def lose_catalog(
    scene: Scene[TWorld], *, lasts_s: tuple[float, float], **switches: Any
) -> Condition:
    """Let the catalog misbehave while customers favorite what nobody here has heard of."""
    world = scene.world
    await asyncio.to_thread(partial(world.store.misbehave, **switches))
    await ask_for_the_unknown(scene)
    await asyncio.sleep(scene.random.uniform(*lasts_s))
    await asyncio.to_thread(world.store.behave)
    return partial(settled, world)


async def ask_for_the_unknown(scene: Scene[TWorld]) -> None:
    """Favorite one of three products that are new on the catalog's shelf."""
    for _ in range(3):
        await scene.world.add_product(scene.world.next_product())
    await scene.witness.add(scene.world.products[-1])


async def settled(world: World) -> bool:
    """Tell whether no favorite waits for the catalog, and no job is about one."""
    waiting = await world.sql(
        "SELECT (SELECT count(*) FROM favorites"
        " WHERE snapshot_title IS NULL AND rejected_at IS NULL)"
        " + (SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'validate_product')"
    )
    return waiting == [(0,)]


async def nothing_else() -> bool:
    """Tell that nothing else has to heal."""
    return True


def plan(names: Collection[str], count: int, *, seed: int) -> list[str]:
    """Return which faults happen, one after the other: all of them before any happens again."""
    random = Random(seed)  # noqa: S311 - to be repeated, not to be secret
    found: list[str] = []
    while len(found) < count:
        found += random.sample(sorted(names), k=len(names))
    return found[:count]
