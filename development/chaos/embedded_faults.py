"""What goes wrong on this machine."""

import asyncio
import os
import signal
from functools import partial
from typing import TypeAlias

import psycopg

from development.chaos.customer import crowd
from development.chaos.embedded import EmbeddedWorld
from development.chaos.program import Program
from development.chaos.scene import (
    WITHIN_S,
    Condition,
    Faults,
    Scene,
    lose_catalog,
    nothing_else,
    settled,
)
from development.chaos.world import until
from development.postgres import StopMode

CROWD = 80
OUTAGE_S = (2, 5)

EmbeddedScene: TypeAlias = Scene[EmbeddedWorld]


async def _kill_api_process(scene: EmbeddedScene) -> Condition:
    server = scene.random.choice(scene.world.servers)
    return await _lose_process(scene, server, signal.SIGKILL)


async def _freeze_api_process(scene: EmbeddedScene) -> Condition:
    server = scene.random.choice(scene.world.servers)
    return await _lose_process(scene, server, signal.SIGSTOP)


async def _lose_process(
    scene: EmbeddedScene, server: Program, number: signal.Signals
) -> Condition:
    await until(partial(_serves, scene.world, server), WITHIN_S, f"{server.name}")
    lost = scene.random.choice(server.workers()).pid
    os.kill(lost, number)

    async def replaced() -> bool:
        # The parent puts another in its place; one that is frozen it kills first.
        return lost not in {each.pid for each in server.workers()} and scene.world.serving(server)

    return replaced


async def _kill_supervisor(scene: EmbeddedScene) -> Condition:
    server = scene.random.choice(scene.world.servers)
    return _kill(scene.world, server, alone=True)


async def _kill_server(scene: EmbeddedScene) -> Condition:
    server = scene.random.choice(scene.world.servers)
    return _kill(scene.world, server)


async def _kill_worker(scene: EmbeddedScene) -> Condition:
    worker = scene.random.choice(scene.world.workers)
    return _kill(scene.world, worker)


def _kill(world: EmbeddedWorld, program: Program, *, alone: bool = False) -> Condition:
    lost = program.pid
    program.kill(alone=alone)

    async def replaced() -> bool:
        return program.pid != lost and world.serving(program)

    return replaced


async def _serves(world: EmbeddedWorld, program: Program) -> bool:
    return world.serving(program)


async def _kill_workers_over_a_job(scene: EmbeddedScene) -> Condition:
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


async def _restart_postgres(scene: EmbeddedScene) -> Condition:
    await asyncio.to_thread(scene.world.postgres.restart, StopMode.FAST)
    return nothing_else


async def _crash_postgres(scene: EmbeddedScene) -> Condition:
    await asyncio.to_thread(scene.world.postgres.stop, StopMode.IMMEDIATE)
    await asyncio.sleep(scene.random.uniform(0, 3))
    await asyncio.to_thread(scene.world.postgres.start)
    return nothing_else


async def _kill_everything(scene: EmbeddedScene) -> Condition:
    world = scene.world
    healed = [_kill(world, program) for program in world.programs]
    await asyncio.to_thread(world.postgres.kill)
    # The others may be back before the database is.
    await asyncio.sleep(scene.random.uniform(2, 6))
    await asyncio.to_thread(world.postgres.start)

    async def all_back() -> bool:
        return all([await each() for each in healed])

    return all_back


async def _kill_backend(scene: EmbeddedScene) -> Condition:
    # The server ends all others as well, and recovers: what they share may be damaged.
    os.kill(await _backend(scene), signal.SIGKILL)
    return nothing_else


async def _freeze_backend(scene: EmbeddedScene) -> Condition:
    await _freeze(scene, await _backend(scene))
    return nothing_else


async def _freeze_postmaster(scene: EmbeddedScene) -> Condition:
    pid = scene.world.postgres.pid
    if pid is not None:
        await _freeze(scene, pid)
    return nothing_else


async def _backend(scene: EmbeddedScene) -> int:
    """Return a process of the database that works for an API process, at this moment if any."""
    found = await scene.world.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'favorites'"
        " ORDER BY state = 'idle', random() LIMIT 1"
    )
    return int(found[0][0]) if found else await _backend(scene)


async def _freeze(scene: EmbeddedScene, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(scene.random.uniform(1, 4))
    finally:
        os.kill(pid, signal.SIGCONT)


async def _lock_everything(scene: EmbeddedScene) -> Condition:
    stop = asyncio.Event()

    async def hold() -> None:
        url = scene.world.database_url
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
    return nothing_else


FAULTS: Faults[EmbeddedWorld] = {
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
    "catalog-hangs": ("the catalog hangs", partial(lose_catalog, lasts_s=OUTAGE_S, fault="hang")),
    "catalog-500": (
        "the catalog answers 500",
        partial(lose_catalog, lasts_s=OUTAGE_S, status=500),
    ),
    "catalog-resets": (
        "the catalog drops connections",
        partial(lose_catalog, lasts_s=OUTAGE_S, fault="reset"),
    ),
    "locks": ("a table locked from outside, a crowd of readers", _lock_everything),
}
