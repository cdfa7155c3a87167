"""What goes wrong: each fault disturbs the world for a while, and says when all is well again."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, TypeAlias

import psycopg

from development.chaos.customer import Customer, crowd
from development.chaos.load import Load
from development.chaos.program import Program
from development.chaos.world import DATABASE, World, until
from development.postgres import StopMode

WITHIN_S = 60.0
CROWD = 80

Condition: TypeAlias = Callable[[], Coroutine[Any, Any, bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a fault happens; `witness` is a customer whom nobody else acts for."""

    world: World
    load: Load
    witness: Customer
    random: Random


Strike: TypeAlias = Callable[[Scene], Awaitable[Condition]]


async def _kill_api_process(scene: Scene) -> Condition:
    server = scene.random.choice(scene.world.servers)
    return await _lose_process(scene, server, signal.SIGKILL)


async def _freeze_api_process(scene: Scene) -> Condition:
    server = scene.random.choice(scene.world.servers)
    return await _lose_process(scene, server, signal.SIGSTOP)


async def _lose_process(scene: Scene, server: Program, number: signal.Signals) -> Condition:
    await until(partial(_serves, scene.world, server), WITHIN_S, f"{server.name}")
    lost = scene.random.choice(server.workers()).pid
    os.kill(lost, number)

    async def replaced() -> bool:
        # The parent puts another in its place; one that is frozen it kills first.
        return lost not in {each.pid for each in server.workers()} and scene.world.serving(server)

    return replaced


async def _kill_supervisor(scene: Scene) -> Condition:
    server = scene.random.choice(scene.world.servers)
    return _kill(scene.world, server, alone=True)


async def _kill_server(scene: Scene) -> Condition:
    server = scene.random.choice(scene.world.servers)
    return _kill(scene.world, server)


async def _kill_worker(scene: Scene) -> Condition:
    worker = scene.random.choice(scene.world.workers)
    return _kill(scene.world, worker)


def _kill(world: World, program: Program, *, alone: bool = False) -> Condition:
    lost = program.pid
    program.kill(alone=alone)

    async def replaced() -> bool:
        return program.pid != lost and world.serving(program)

    return replaced


async def _serves(world: World, program: Program) -> bool:
    return world.serving(program)


async def _kill_workers_over_a_job(scene: Scene) -> Condition:
    world = scene.world
    product_id = world.next_product()
    # Neither by itself nor in the list of all.
    paths = ["/products", f"/products/{product_id}"]
    await asyncio.to_thread(partial(world.store.misbehave, fault="hang", paths=paths))
    await world.add_product(product_id)
    await scene.witness.add(product_id)

    async def begun() -> bool:
        doing = await world.sql(
            "SELECT (args ->> 'product_id')::integer FROM procrastinate_jobs"
            " WHERE status = 'doing' AND task_name = 'validate_product'"
        )
        return (product_id,) in doing

    try:
        await until(begun, WITHIN_S, "a job")
        for worker in world.workers:
            worker.kill()
    finally:
        await asyncio.to_thread(world.store.behave)
    return partial(settled, world)


async def settled(world: World) -> bool:
    """Tell whether no favorite waits for the catalog, and no job is about one."""
    waiting = await world.sql(
        "SELECT (SELECT count(*) FROM favorites"
        " WHERE snapshot_title IS NULL AND rejected_at IS NULL)"
        " + (SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'validate_product')"
    )
    return waiting == [(0,)]


async def _restart_postgres(scene: Scene) -> Condition:
    await asyncio.to_thread(scene.world.postgres.restart, StopMode.FAST)
    return _nothing_else


async def _crash_postgres(scene: Scene) -> Condition:
    await asyncio.to_thread(scene.world.postgres.stop, StopMode.IMMEDIATE)
    await asyncio.sleep(scene.random.uniform(0, 3))
    await asyncio.to_thread(scene.world.postgres.start)
    return _nothing_else


async def _kill_everything(scene: Scene) -> Condition:
    world = scene.world
    healed = [_kill(world, program) for program in world.programs]
    await asyncio.to_thread(world.postgres.kill)
    # The others may be back before the database is.
    await asyncio.sleep(scene.random.uniform(2, 6))
    await asyncio.to_thread(world.postgres.start)

    async def all_back() -> bool:
        return all([await each() for each in healed])

    return all_back


async def _kill_backend(scene: Scene) -> Condition:
    # The server ends all others as well, and recovers: what they share may be damaged.
    os.kill(await _backend(scene), signal.SIGKILL)
    return _nothing_else


async def _freeze_backend(scene: Scene) -> Condition:
    await _freeze(scene, await _backend(scene))
    return _nothing_else


async def _freeze_postmaster(scene: Scene) -> Condition:
    pid = scene.world.postgres.pid
    if pid is not None:
        await _freeze(scene, pid)
    return _nothing_else


async def _backend(scene: Scene) -> int:
    """Return a process of the database that works for an API process, at this moment if any."""
    found = await scene.world.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'favorites'"
        " ORDER BY state = 'idle', random() LIMIT 1"
    )
    return int(found[0][0]) if found else await _backend(scene)


async def _freeze(scene: Scene, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(scene.random.uniform(1, 4))
    finally:
        os.kill(pid, signal.SIGCONT)


async def _lose_catalog(scene: Scene, **switches: Any) -> Condition:
    world = scene.world
    await asyncio.to_thread(partial(world.store.misbehave, **switches))
    # Nobody here has heard of these.
    for _ in range(3):
        await world.add_product(world.next_product())
    await scene.witness.add(world.products[-1])
    await asyncio.sleep(scene.random.uniform(2, 5))
    await asyncio.to_thread(world.store.behave)
    return partial(settled, world)


async def _lock_everything(scene: Scene) -> Condition:
    stop = asyncio.Event()

    async def hold() -> None:
        url = scene.world.postgres.url(DATABASE)
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("LOCK TABLE favorites IN ACCESS EXCLUSIVE MODE")
            await stop.wait()

    holder = asyncio.create_task(hold())
    try:
        # More than there are places in all pools together.
        await asyncio.gather(
            asyncio.sleep(scene.random.uniform(3, 5)), crowd(scene.witness, CROWD)
        )
    finally:
        stop.set()
        await holder
    return _nothing_else


async def _nothing_else() -> bool:
    return True


FAULTS: Mapping[str, tuple[str, Strike]] = {
    "api-process": ("an API process, `kill -9`", _kill_api_process),
    "api-process-frozen": ("an API process, frozen for good", _freeze_api_process),
    "api-supervisor": ("the parent of an API server's processes, `kill -9`", _kill_supervisor),
    "api-server": ("an API server with all its processes, `kill -9`", _kill_server),
    "worker": ("a worker, `kill -9`", _kill_worker),
    "workers-over-a-job": (
        "all workers in the middle of a job, `kill -9`",
        _kill_workers_over_a_job,
    ),
    "postgres-restart": ("PostgreSQL, restarted", _restart_postgres),
    "postgres-crash": ("PostgreSQL, crashed and away for a while", _crash_postgres),
    "everything": ("all of it at once, PostgreSQL too, `kill -9`", _kill_everything),
    "backend-killed": ("a process of PostgreSQL, `kill -9`", _kill_backend),
    "backend-frozen": ("a process of PostgreSQL, frozen for a while", _freeze_backend),
    "postmaster-frozen": ("PostgreSQL's first process, frozen for a while", _freeze_postmaster),
    "catalog-hangs": ("the catalog hangs", partial(_lose_catalog, fault="hang")),
    "catalog-500": ("the catalog answers 500", partial(_lose_catalog, status=500)),
    "catalog-resets": ("the catalog drops connections", partial(_lose_catalog, fault="reset")),
    "locks": ("a table locked from outside, a crowd of readers", _lock_everything),
}


def plan(count: int, *, seed: int) -> list[str]:
    """Return which faults happen, one after the other: all of them before any happens again."""
    random = Random(seed)  # noqa: S311 - to be repeated, not to be secret
    found: list[str] = []
    while len(found) < count:
        found += random.sample(sorted(FAULTS), k=len(FAULTS))
    return found[:count]
