"""What goes wrong among containers: each is taken away for a while, and put back."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import httpx2

from development.chaos.compose import ComposeWorld
from development.chaos.scene import (
    WITHIN_S,
    Condition,
    Faults,
    Scene,
    Strike,
    lose_catalog,
    settled,
)
from development.chaos.world import KNOWN_PRODUCTS, until

ComposeScene: TypeAlias = Scene[ComposeWorld]


async def _kill(scene: ComposeScene, *services: str) -> Condition:
    await scene.world.kill(*services)
    await _wait(scene)
    await scene.world.start(*services)
    return scene.world.healthy


async def _crash(scene: ComposeScene, service: str) -> Condition:
    await scene.world.crash(service)
    return scene.world.healthy


async def _freeze(scene: ComposeScene, *services: str) -> Condition:
    await scene.world.pause(*services)
    try:
        await _wait(scene)
    finally:
        await scene.world.go_on(*services)
    return scene.world.healthy


async def _kill_everything(scene: ComposeScene) -> Condition:
    return await _kill(scene, *scene.world.containers)


async def _kill_catalog(scene: ComposeScene) -> Condition:
    world = scene.world
    # What was put on its shelf dies with it: by then nobody may have to ask for it first.
    for product_id in world.products:
        await scene.load.request("GET", f"/products/{product_id}")
    await world.kill("fakestore")
    await scene.witness.add(world.invent_product())
    await _wait(scene)
    await world.start("fakestore")
    await until(partial(_stocked, world), WITHIN_S, "the catalog")
    return partial(settled, world)


async def _stocked(world: ComposeWorld) -> bool:
    with suppress(httpx2.TransportError):
        for product_id in world.products[len(KNOWN_PRODUCTS) :]:
            await world.stock(product_id)
        return True
    return False


async def _freeze_catalog(scene: ComposeScene) -> Condition:
    product_id = scene.world.next_product()
    await scene.world.stock(product_id)
    await scene.world.pause("fakestore")
    try:
        await scene.witness.add(product_id)
        await _wait(scene)
    finally:
        await scene.world.go_on("fakestore")
    scene.world.products.append(product_id)
    return partial(settled, scene.world)


async def _fail_catalog(scene: ComposeScene) -> Condition:
    return await lose_catalog(scene, lasts_s=scene.world.away_s, status=500)


async def _reload_gateway(scene: ComposeScene) -> Condition:
    await scene.world.execute("gateway", "nginx", "-s", "reload")
    return scene.world.healthy


async def _wait(scene: ComposeScene) -> None:
    await asyncio.sleep(scene.random.uniform(*scene.world.away_s))


def _killed(title: str, *services: str) -> tuple[str, Strike[ComposeWorld]]:
    async def strike(scene: ComposeScene) -> Condition:
        return await _kill(scene, *services)

    return f"{title}, killed", strike


def _frozen(title: str, *services: str) -> tuple[str, Strike[ComposeWorld]]:
    async def strike(scene: ComposeScene) -> Condition:
        return await _freeze(scene, *services)

    return f"{title}, frozen", strike


def _crashed(title: str, service: str) -> tuple[str, Strike[ComposeWorld]]:
    async def strike(scene: ComposeScene) -> Condition:
        return await _crash(scene, service)

    return f"{title}, crashed", strike


FAULTS: Faults[ComposeWorld] = {
    "redis-killed": _killed("Redis", "redis"),
    "redis-frozen": _frozen("Redis", "redis"),
    "api-1-killed": _killed("an API replica", "api-1"),
    "api-2-killed": _killed("the other API replica", "api-2"),
    "api-1-crashed": _crashed("an API replica", "api-1"),
    "api-2-frozen": _frozen("an API replica", "api-2"),
    "read-replica-killed": _killed("the PostgreSQL replica", "database-replica"),
    "read-replica-frozen": _frozen("the PostgreSQL replica", "database-replica"),
    "pooler-killed": _killed("PgBouncer", "pooler"),
    "pooler-frozen": _frozen("PgBouncer", "pooler"),
    "worker-killed": _killed("a worker", "worker"),
    "workers-killed": _killed("both workers", "worker", "worker-2"),
    "worker-crashed": _crashed("a worker", "worker-2"),
    "database-killed": _killed("PostgreSQL", "database"),
    "database-frozen": _frozen("PostgreSQL", "database"),
    "catalog-killed": ("the catalog, killed", _kill_catalog),
    "catalog-frozen": ("the catalog, frozen", _freeze_catalog),
    "catalog-500": ("the catalog answers 500", _fail_catalog),
    "gateway-reloaded": ("nginx, reloaded", _reload_gateway),
    "gateway-killed": _killed("nginx", "gateway"),
    "everything-killed": ("all of it at once, killed", _kill_everything),
}
