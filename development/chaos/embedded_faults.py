"""Faults of the processes on this machine."""

import asyncio
import os
import signal
from functools import partial
from typing import TypeAlias

import psycopg

from development.chaos.customer import read_concurrently
from development.chaos.deployment import until
from development.chaos.embedded import EmbeddedDeployment
from development.chaos.fault import (
    WITHIN_S,
    Condition,
    FaultContext,
    Faults,
    already_recovered,
    disturb_catalog,
    settled,
)
from development.chaos.program import Program
from development.postgres import StopMode

READS = 80
OUTAGE_S = (2, 5)

EmbeddedContext: TypeAlias = FaultContext[EmbeddedDeployment]


async def _kill_api_process(context: EmbeddedContext) -> Condition:
    server = context.random.choice(context.deployment.servers)
    return await _lose_process(context, server, signal.SIGKILL)


async def _freeze_api_process(context: EmbeddedContext) -> Condition:
    server = context.random.choice(context.deployment.servers)
    return await _lose_process(context, server, signal.SIGSTOP)


async def _lose_process(
    context: EmbeddedContext, server: Program, number: signal.Signals
) -> Condition:
    await until(partial(_serves, context.deployment, server), WITHIN_S, f"{server.name}")
    lost = context.random.choice(server.workers()).pid
    os.kill(lost, number)

    async def replaced() -> bool:
        # The parent kills a frozen process before it starts another.
        return lost not in {each.pid for each in server.workers()} and context.deployment.serving(
            server
        )

    return replaced


async def _kill_supervisor(context: EmbeddedContext) -> Condition:
    server = context.random.choice(context.deployment.servers)
    return _kill(context.deployment, server, alone=True)


async def _kill_server(context: EmbeddedContext) -> Condition:
    server = context.random.choice(context.deployment.servers)
    return _kill(context.deployment, server)


async def _kill_worker(context: EmbeddedContext) -> Condition:
    worker = context.random.choice(context.deployment.workers)
    return _kill(context.deployment, worker)


def _kill(deployment: EmbeddedDeployment, program: Program, *, alone: bool = False) -> Condition:
    lost = program.pid
    program.kill(alone=alone)

    async def replaced() -> bool:
        return program.pid != lost and deployment.serving(program)

    return replaced


async def _serves(deployment: EmbeddedDeployment, program: Program) -> bool:
    return deployment.serving(program)


async def _kill_workers_over_a_job(context: EmbeddedContext) -> Condition:
    deployment = context.deployment
    product_id = deployment.next_product()
    # Both ways to read the product have to hang.
    paths = ["/products", f"/products/{product_id}"]
    await asyncio.to_thread(partial(deployment.store.misbehave, fault="hang", paths=paths))
    await deployment.add_product(product_id)
    await context.customer.add(product_id)

    async def job_runs() -> bool:
        doing = await deployment.sql(
            "SELECT (args ->> 'product_id')::integer FROM procrastinate_jobs"
            " WHERE status = 'doing' AND task_name = 'validate_product'"
        )
        return (product_id,) in doing

    try:
        await until(job_runs, WITHIN_S, "the start of a job")
        for worker in deployment.workers:
            worker.kill()
    finally:
        await asyncio.to_thread(deployment.store.behave)
    return partial(settled, deployment)


async def _restart_postgres(context: EmbeddedContext) -> Condition:
    await asyncio.to_thread(context.deployment.postgres.restart, StopMode.FAST)
    return already_recovered


async def _crash_postgres(context: EmbeddedContext) -> Condition:
    await asyncio.to_thread(context.deployment.postgres.stop, StopMode.IMMEDIATE)
    await asyncio.sleep(context.random.uniform(0, 3))
    await asyncio.to_thread(context.deployment.postgres.start)
    return already_recovered


async def _kill_everything(context: EmbeddedContext) -> Condition:
    deployment = context.deployment
    recovered = [_kill(deployment, program) for program in deployment.programs]
    await asyncio.to_thread(deployment.postgres.kill)
    # The programs may restart before the database does.
    await asyncio.sleep(context.random.uniform(2, 6))
    await asyncio.to_thread(deployment.postgres.start)

    async def all_recovered() -> bool:
        return all([await each() for each in recovered])

    return all_recovered


async def _kill_backend(context: EmbeddedContext) -> Condition:
    # The server ends all other processes and recovers, because shared memory may be damaged.
    os.kill(await _backend(context), signal.SIGKILL)
    return already_recovered


async def _freeze_backend(context: EmbeddedContext) -> Condition:
    await _freeze(context, await _backend(context))
    return already_recovered


async def _freeze_postmaster(context: EmbeddedContext) -> Condition:
    pid = context.deployment.postgres.pid
    if pid is not None:
        await _freeze(context, pid)
    return already_recovered


async def _backend(context: EmbeddedContext) -> int:
    """Return a database process of the API, preferably one that runs a statement."""
    found = await context.deployment.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'favorites'"
        " ORDER BY state = 'idle', random() LIMIT 1"
    )
    return int(found[0][0]) if found else await _backend(context)


async def _freeze(context: EmbeddedContext, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(context.random.uniform(1, 4))
    finally:
        os.kill(pid, signal.SIGCONT)


async def _lock_everything(context: EmbeddedContext) -> Condition:
    stop = asyncio.Event()

    async def hold() -> None:
        url = context.deployment.database_url
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("LOCK TABLE favorites IN ACCESS EXCLUSIVE MODE")
            await stop.wait()

    holder = asyncio.create_task(hold())
    try:
        # More than all pools have connections.
        await asyncio.gather(
            asyncio.sleep(context.random.uniform(3, 5)), read_concurrently(context.customer, READS)
        )
    finally:
        stop.set()
        await holder
    return already_recovered


FAULTS: Faults[EmbeddedDeployment] = {
    "api-process": ("an API process, `kill -9`", _kill_api_process),
    "api-process-frozen": ("an API process, frozen and not resumed", _freeze_api_process),
    "api-supervisor": ("the parent of an API server's processes, `kill -9`", _kill_supervisor),
    "api-server": ("an API server with all its processes, `kill -9`", _kill_server),
    "worker": ("a worker, `kill -9`", _kill_worker),
    "workers-over-a-job": (
        "all workers in the middle of a job, `kill -9`",
        _kill_workers_over_a_job,
    ),
    "postgres-restart": ("PostgreSQL, restarted", _restart_postgres),
    "postgres-crash": ("PostgreSQL, crashed and down for a while", _crash_postgres),
    "everything": ("everything at once, PostgreSQL too, `kill -9`", _kill_everything),
    "backend-killed": ("a process of PostgreSQL, `kill -9`", _kill_backend),
    "backend-frozen": ("a process of PostgreSQL, frozen for a while", _freeze_backend),
    "postmaster-frozen": ("PostgreSQL's first process, frozen for a while", _freeze_postmaster),
    "catalog-hangs": (
        "the catalog hangs",
        partial(disturb_catalog, lasts_s=OUTAGE_S, fault="hang"),
    ),
    "catalog-500": (
        "the catalog answers 500",
        partial(disturb_catalog, lasts_s=OUTAGE_S, status=500),
    ),
    "catalog-resets": (
        "the catalog drops connections",
        partial(disturb_catalog, lasts_s=OUTAGE_S, fault="reset"),
    ),
    "locks": ("a table locked from outside, many readers", _lock_everything),
}
