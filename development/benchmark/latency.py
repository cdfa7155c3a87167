"""Latencies at a steady rate, and the time of a start."""

from development.benchmark.load import Load, Measurement, Rate
from development.benchmark.requests import plain, sign_ins
from development.benchmark.rounds import CONNECTIONS, Json, Timing
from development.benchmark.scenario import plain_lists
from development.benchmark.testbed import Testbed, import_seconds, start_seconds

STORM_CONNECTIONS = 8


def at_half_load(testbed: Testbed, timing: Timing, *, evenly: bool) -> Json:
    """
    Measure how the tail latency of lists compares to their median at half the maximum rate.

    The limit is measured as well: it shows what the machine adds.
    """
    limit_lists = [plain(customer, "GET") for customer in testbed.customers]
    loads = {
        "limit": Load(testbed.limit.port, limit_lists, testbed.directory, "half"),
        "service": _lists(testbed),
    }
    measured: dict[str, list[Json]] = {side: [] for side in loads}
    for _ in range(timing.rounds):
        for side, load in loads.items():
            done = _round_at_half_load(load, seconds=timing.seconds, evenly=evenly)
            measured[side].append(done)
    ratios = {side: [each["ratio"] for each in all_] for side, all_ in measured.items()}
    return {
        "title": "p99 to p50 of lists at half load, "
        + ("evenly spaced requests" if evenly else "Poisson arrivals"),
        "at_most": 3.0,
        "rounds": measured,
        "ratio": ratios["service"],
        "ratio_of_limit": ratios["limit"],
    }


def _round_at_half_load(load: Load, *, seconds: float, evenly: bool) -> Json:
    most = load.run(seconds=seconds, connections=CONNECTIONS).rate
    measured = load.run(
        seconds=seconds * 2,
        connections=CONNECTIONS * 2,
        at=Rate(per_s=most / 2, evenly=evenly),
    )
    return {
        "share": round(measured.rate / most, 3),
        **_latencies(measured),
        "ratio": round(measured.p99_ms / measured.p50_ms, 3),
    }


def in_a_storm(testbed: Testbed, timing: Timing) -> Json:
    """Measure lists at a steady rate, without and with many sign-ins at the same time."""
    load = _lists(testbed)
    storm = Load(testbed.service.port, sign_ins(testbed.customers), testbed.directory, "storm")
    most = load.run(seconds=timing.seconds, connections=CONNECTIONS).rate
    steady = Rate(per_s=most / 8)
    seconds = timing.storm_s
    calm, stormy = [], []
    for _ in range(timing.rounds):
        calm.append(load.run(seconds=seconds, connections=CONNECTIONS, at=steady))
        sign_ins_running = storm.start(seconds=seconds, connections=STORM_CONNECTIONS)
        stormy.append(load.run(seconds=seconds, connections=CONNECTIONS, at=steady))
        sign_ins_running.wait()
    return {
        "title": "p99 of lists during a storm of sign-ins, to that without",
        "at_most": 2.0,
        "calm": [_latencies(each) for each in calm],
        "stormy": [_latencies(each) for each in stormy],
        "ratio": [
            round(during.p99_ms / without.p99_ms, 3)
            for during, without in zip(stormy, calm, strict=True)
        ],
    }


def start(testbed: Testbed, timing: Timing) -> Json:
    """Measure starts of the service, and imports alone."""
    import_seconds(testbed)  # compiles all modules
    return {
        "title": "From the start to the first 200, in seconds",
        "at_most": 1.5,
        "ratio": [round(start_seconds(testbed), 3) for _ in range(timing.starts)],
        "imports_s": [round(import_seconds(testbed), 3) for _ in range(timing.starts)],
    }


def _lists(testbed: Testbed) -> Load:
    lists = plain_lists(testbed.customers)
    return Load(testbed.service.port, lists, testbed.directory, "steady-lists")


def _latencies(measured: Measurement) -> Json:
    return {"p50_ms": measured.p50_ms, "p99_ms": measured.p99_ms}
