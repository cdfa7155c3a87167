"""Sign-ins, measured beside a bare callable and beside hashing alone."""

import subprocess
import sys

from app.infra.hashing.cores import hashing_cores
from development.benchmark.load import Load
from development.benchmark.requests import sign_ins
from development.benchmark.rounds import Comparison, Json, Side, Timing, in_turn
from development.benchmark.testbed import Server, Testbed, another_service

CONNECTIONS = 16
TARGET = 0.95


def beside_callable(testbed: Testbed, timing: Timing) -> Json:
    """Measure sign-ins beside a bare callable that verifies passwords on as many cores."""
    comparison = Comparison(
        title="Sign in",
        target=TARGET,
        limit=_side(testbed, testbed.limit),
        service=_side(testbed, testbed.service),
    )
    (figure,) = in_turn([comparison], timing)
    return figure


def on_one_core(testbed: Testbed, timing: Timing) -> Json:
    """Measure sign-ins of a service that hashes on one core only."""
    with another_service(testbed, {"PASSWORD_THREADS": "1"}) as service:
        return _beside_hashing(testbed, timing, service, cores=1)


def on_all_cores(testbed: Testbed, timing: Timing) -> Json:
    """Measure sign-ins of a service that hashes on all cores."""
    return _beside_hashing(testbed, timing, testbed.service, cores=hashing_cores())


def _beside_hashing(testbed: Testbed, timing: Timing, server: Server, *, cores: int) -> Json:
    """Measure sign-ins beside verifying passwords on as many cores with nothing else to do."""
    side = _side(testbed, server)
    service, limit = [], []
    for number in range(0 if timing.warm_up else 1, timing.rounds + 1):
        bare = _verifications_per_s(testbed, seconds=timing.seconds, cores=cores)
        done = side.drive(seconds=timing.seconds)
        if number:
            service.append(done)
            limit.append(bare)
    return {
        "title": f"Sign in, to bare hashing on {'one core' if cores == 1 else f'{cores} cores'}",
        "target": TARGET,
        "service": [each.as_json() for each in service],
        "limit": [{"per_s": round(each, 1)} for each in limit],
        "ratio": [
            round(ours.measured.rate / bare, 4) for ours, bare in zip(service, limit, strict=True)
        ],
    }


def _side(testbed: Testbed, server: Server) -> Side:
    load = Load(server.port, sign_ins(testbed.customers), testbed.directory, "sign-in")
    return Side(server=server, load=load, connections=CONNECTIONS)


def _verifications_per_s(testbed: Testbed, *, seconds: float, cores: int) -> float:
    program = ("-m", "development.benchmark.limit", "argon2", str(seconds), str(cores))
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *program],
        env=dict(testbed.environment),
        capture_output=True,
        check=True,
        text=True,
    )
    return float(done.stdout)
