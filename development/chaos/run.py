"""One run: load, one fault after the other, and the reckoning."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import httpx2

from development.chaos.comparison import compare, read_held
from development.chaos.customer import Customer, newcomers, returning, visitors
from development.chaos.ledger import Ledger
from development.chaos.load import Load, open_load
from development.chaos.program import ChaosError
from development.chaos.report import Outcome, Struck
from development.chaos.scene import WITHIN_S, Faults, Scene, Strike, TWorld, settled
from development.chaos.world import START_S, World, until
from development.outage import say

HEAL_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What a run is like; `pause_s` is the longest one between a fault and the next, `turn_s` the
    mean one between two requests of a customer.
    """

    seed: int
    faults: Sequence[str]
    customers: int = 6
    visitors: int = 2
    pause_s: float = 4.0
    turn_s: float = 0.05


def run(world: TWorld, faults: Faults[TWorld], ledger_path: Path, plan: Plan) -> Outcome:
    """
    Disturb a world by the planned of its `faults`, and compare.

    :raises ChaosError: if it does not come up
    """
    with Ledger(ledger_path) as ledger:
        return asyncio.run(_run(world, faults, ledger, plan))


async def _run(world: TWorld, faults: Faults[TWorld], ledger: Ledger, plan: Plan) -> Outcome:
    random = Random(plan.seed)  # noqa: S311 - to be repeated, not to be secret
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.kept())
        load = await stack.enter_async_context(open_load(world, ledger, seed=plan.seed))
        await until(partial(_ready, world, load), START_S, "becoming ready")
        people = [
            Customer(
                load=load,
                email=f"customer-{number}@example.com",
                random=Random(plan.seed + number),  # noqa: S311 - likewise
            )
            for number in range(plan.customers + 1)
        ]
        for person in people:
            await person.join()
        witness = people.pop()
        began = time.monotonic()
        struck: list[Struck] = []
        async with asyncio.TaskGroup() as group:
            for person in people:
                group.create_task(person.live(plan.turn_s))
            for _ in range(plan.visitors):
                group.create_task(visitors(load))
            group.create_task(newcomers(load, 0.5))
            group.create_task(returning(witness, 0.5))
            try:
                scene = Scene(world=world, load=load, witness=witness, random=random)
                for name in plan.faults:
                    await asyncio.sleep(random.uniform(0.25, 1) * plan.pause_s)
                    struck.append(await _strike(faults[name], scene, began))
                await asyncio.sleep(plan.pause_s)
            except ChaosError as error:
                # What is there can be compared all the same.
                load.failures.append(str(error))
            finally:
                load.stopping.set()
        seconds = time.monotonic() - began
        try:
            await until(partial(settled, world), WITHIN_S, "settling what is pending")
        except ChaosError as error:
            load.failures.append(str(error))
    entries = ledger.entries()
    held = await asyncio.to_thread(read_held, world.database_url)
    return Outcome(
        seed=plan.seed,
        seconds=seconds,
        struck=struck,
        samples=[sample.since(began) for sample in load.samples if sample.began >= began],
        entries=len(entries),
        faults=[
            *load.failures,
            *world.failures,
            *_errors(world),
            *compare(entries, held, invented=world.invented),
        ],
    )


async def _ready(world: World, load: Load) -> bool:
    answers = [await _get(client) for client in load.clients]
    return all(answers) and await world.complete()


async def _strike(fault: tuple[str, Strike[TWorld]], scene: Scene[TWorld], began: float) -> Struck:
    """Let a fault happen, and wait until it is healed."""
    title, strike = fault
    at = time.monotonic()
    say(f"{at - began:6.1f} s  {title}")
    healed = await strike(scene)
    ended = time.monotonic()
    await until(healed, HEAL_S, f"healing of: {title}")
    back = time.monotonic()
    servers = range(len(scene.world.urls))

    async def acknowledged() -> bool:
        return all(scene.load.first_success(ended, server=n) is not None for n in servers)

    await until(acknowledged, HEAL_S, f"a write that is acknowledged after: {title}")
    firsts = [scene.load.first_success(ended, server=n) or back for n in servers]
    return Struck(
        title=title,
        at_s=at - began,
        ended_s=ended - began,
        answered_s=max(firsts) - began,
        healed_s=max(back, *firsts) - began,
    )


async def _get(client: httpx2.AsyncClient) -> bool:
    with suppress(httpx2.TransportError):
        return (await client.get("/health/ready")).is_success
    return False


def _errors(world: World) -> list[str]:
    """Return the errors that programs have logged: whatever happens outside is a warning."""
    return [
        f"logged by {line.get('logger')}: {line.get('event')} {str(line.get('exception'))[-300:]}"
        for line in world.log_lines()
        if line.get("level") in {"error", "critical"}
        and str(line.get("logger")).startswith(("app.", "asyncio"))
    ]
