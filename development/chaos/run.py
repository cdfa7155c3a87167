"""One run: load, a sequence of faults, and the comparison at the end."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import httpx2

from development.chaos.comparison import compare, read_state
from development.chaos.customer import (
    Customer,
    read_products,
    sign_in_repeatedly,
    sign_up_repeatedly,
)
from development.chaos.deployment import START_S, Deployment, until
from development.chaos.fault import WITHIN_S, FaultContext, Faults, Injector, TDeployment, settled
from development.chaos.ledger import Ledger
from development.chaos.load import Load, open_load
from development.chaos.program import ChaosError
from development.chaos.report import InjectedFault, Outcome
from development.service import say

RECOVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    The parameters of a run.

    `pause_s` is the longest pause between two faults, `turn_s` the mean pause between two requests
    of a customer.
    """

    seed: int
    faults: Sequence[str]
    customers: int = 6
    readers: int = 2
    pause_s: float = 4.0
    turn_s: float = 0.05


def run(
    deployment: TDeployment, faults: Faults[TDeployment], ledger_path: Path, plan: Plan
) -> Outcome:
    """
    Inject the planned faults into a deployment under load, and compare ledger and database.

    :raises ChaosError: if the deployment does not become ready
    """
    with Ledger(ledger_path) as ledger:
        return asyncio.run(_run(deployment, faults, ledger, plan))


async def _run(
    deployment: TDeployment, faults: Faults[TDeployment], ledger: Ledger, plan: Plan
) -> Outcome:
    random = Random(plan.seed)  # noqa: S311 - repeatable, not secret
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(deployment.supervised())
        load = await stack.enter_async_context(open_load(deployment, ledger, seed=plan.seed))
        await until(partial(_ready, deployment, load), START_S, "the start")
        customers = [
            Customer(
                load=load,
                email=f"customer-{number}@example.com",
                random=Random(plan.seed + number),  # noqa: S311 - likewise
            )
            for number in range(plan.customers + 1)
        ]
        for each in customers:
            await each.sign_up_and_in()
        customer = customers.pop()
        began = time.monotonic()
        injected: list[InjectedFault] = []
        async with asyncio.TaskGroup() as group:
            for each in customers:
                group.create_task(each.use_service(plan.turn_s))
            for _ in range(plan.readers):
                group.create_task(read_products(load))
            group.create_task(sign_up_repeatedly(load, 0.5))
            group.create_task(sign_in_repeatedly(customer, 0.5))
            try:
                context = FaultContext(
                    deployment=deployment, load=load, customer=customer, random=random
                )
                for name in plan.faults:
                    await asyncio.sleep(random.uniform(0.25, 1) * plan.pause_s)
                    injected.append(await _inject(faults[name], context, began))
                await asyncio.sleep(plan.pause_s)
            except ChaosError as error:
                # The comparison is possible nevertheless.
                load.failures.append(str(error))
            finally:
                load.stopping.set()
        seconds = time.monotonic() - began
        try:
            await until(partial(settled, deployment), WITHIN_S, "settling pending favorites")
        except ChaosError as error:
            load.failures.append(str(error))
    entries = ledger.entries()
    state = await asyncio.to_thread(read_state, deployment.database_url)
    return Outcome(
        seed=plan.seed,
        seconds=seconds,
        injected=injected,
        samples=[sample.since(began) for sample in load.samples if sample.began >= began],
        entries=len(entries),
        violations=[
            *load.failures,
            *deployment.failures,
            *_errors(deployment),
            *compare(entries, state, nonexistent=deployment.nonexistent),
        ],
    )


async def _ready(deployment: Deployment, load: Load) -> bool:
    answers = [await _is_ready(client) for client in load.clients]
    return all(answers) and await deployment.is_complete()


async def _inject(
    fault: tuple[str, Injector[TDeployment]], context: FaultContext[TDeployment], began: float
) -> InjectedFault:
    """Inject a fault, and wait for the recovery."""
    title, inject = fault
    at = time.monotonic()
    say(f"{at - began:6.1f} s  {title}")
    recovered = await inject(context)
    ended = time.monotonic()
    await until(recovered, RECOVERY_S, f"recovery from: {title}")
    now = time.monotonic()
    servers = range(len(context.deployment.urls))

    async def acknowledged() -> bool:
        return all(context.load.first_success(ended, server=n) is not None for n in servers)

    await until(acknowledged, RECOVERY_S, f"an acknowledged write after: {title}")
    firsts = [context.load.first_success(ended, server=n) or now for n in servers]
    return InjectedFault(
        title=title,
        at_s=at - began,
        ended_s=ended - began,
        answered_s=max(firsts) - began,
        recovered_s=max(now, *firsts) - began,
    )


async def _is_ready(client: httpx2.AsyncClient) -> bool:
    with suppress(httpx2.TransportError):
        return (await client.get("/health/ready")).is_success
    return False


def _errors(deployment: Deployment) -> list[str]:
    """Return the errors that programs have logged; faults outside them cause warnings only."""
    return [
        f"logged by {line.get('logger')}: {line.get('event')} {str(line.get('exception'))[-300:]}"
        for line in deployment.log_lines()
        if line.get("level") in {"error", "critical"}
        and str(line.get("logger")).startswith(("app.", "asyncio"))
    ]
