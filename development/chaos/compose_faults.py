"""Faults of containers: each is killed or frozen for a while, and started again."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import httpx2

from development.chaos.compose import ComposeDeployment
from development.chaos.deployment import KNOWN_PRODUCTS, until
from development.chaos.fault import (
    WITHIN_S,
    Condition,
    FaultContext,
    Faults,
    Injector,
    disturb_catalog,
    settled,
)

ComposeContext: TypeAlias = FaultContext[ComposeDeployment]


async def _kill(context: ComposeContext, *services: str) -> Condition:
    await context.deployment.kill(*services)
    await _outage(context)
    await context.deployment.start(*services)
    return context.deployment.healthy


async def _crash(context: ComposeContext, service: str) -> Condition:
    await context.deployment.crash(service)
    return context.deployment.healthy


async def _freeze(context: ComposeContext, *services: str) -> Condition:
    await context.deployment.pause(*services)
    try:
        await _outage(context)
    finally:
        await context.deployment.resume(*services)
    return context.deployment.healthy


async def _kill_everything(context: ComposeContext) -> Condition:
    return await _kill(context, *context.deployment.containers)


async def _kill_catalog(context: ComposeContext) -> Condition:
    deployment = context.deployment
    # Its additional products are lost with it: the service has to know all of them before.
    for product_id in deployment.products:
        await context.load.request("GET", f"/products/{product_id}")
    await deployment.kill("fakestore")
    await context.customer.add(deployment.nonexistent_product())
    await _outage(context)
    await deployment.start("fakestore")
    await until(partial(_restock, deployment), WITHIN_S, "restocking the catalog")
    return partial(settled, deployment)


async def _restock(deployment: ComposeDeployment) -> bool:
    with suppress(httpx2.TransportError):
        for product_id in deployment.products[len(KNOWN_PRODUCTS) :]:
            await deployment.stock(product_id)
        return True
    return False


async def _freeze_catalog(context: ComposeContext) -> Condition:
    product_id = context.deployment.next_product()
    await context.deployment.stock(product_id)
    await context.deployment.pause("fakestore")
    try:
        await context.customer.add(product_id)
        await _outage(context)
    finally:
        await context.deployment.resume("fakestore")
    context.deployment.products.append(product_id)
    return partial(settled, context.deployment)


async def _fail_catalog(context: ComposeContext) -> Condition:
    return await disturb_catalog(context, lasts_s=context.deployment.outage_s, status=500)


async def _reload_gateway(context: ComposeContext) -> Condition:
    await context.deployment.execute("gateway", "nginx", "-s", "reload")
    return context.deployment.healthy


async def _outage(context: ComposeContext) -> None:
    await asyncio.sleep(context.random.uniform(*context.deployment.outage_s))


def _killed(title: str, *services: str) -> tuple[str, Injector[ComposeDeployment]]:
    async def inject(context: ComposeContext) -> Condition:
        return await _kill(context, *services)

    return f"{title}, killed", inject


def _frozen(title: str, *services: str) -> tuple[str, Injector[ComposeDeployment]]:
    async def inject(context: ComposeContext) -> Condition:
        return await _freeze(context, *services)

    return f"{title}, frozen", inject


def _crashed(title: str, service: str) -> tuple[str, Injector[ComposeDeployment]]:
    async def inject(context: ComposeContext) -> Condition:
        return await _crash(context, service)

    return f"{title}, crashed", inject


FAULTS: Faults[ComposeDeployment] = {
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
    "everything-killed": ("everything at once, killed", _kill_everything),
}
