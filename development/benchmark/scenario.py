"""What is asked of the service and of the limit, and whether they answer right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from development.benchmark.data import FAVORITES, PASSWORD, PRODUCTS, Person
from development.benchmark.load import Load, Measurement, request
from development.benchmark.stage import Server, Stage, ask

CONNECTIONS = 32
SAMPLE_EVERY_S = 0.1


class WrongAnswerError(Exception):
    """Something was answered that is not right: then its speed means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """
    Requests to the service, and those to the limit that do the same work.

    Without a request to the limit there is nothing to compare with. `target` is the ratio that the
    service is to reach.
    """

    name: str
    title: str
    service: Sequence[bytes]
    limit: Sequence[bytes] = ()
    writes: bool = False
    target: float = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of load, what it cost the process that answered, and the samples it took."""

    measured: Measurement
    cpu_us: float
    sampled: int

    def as_json(self) -> dict[str, float]:
        """Return the figures; the CPU time is that of the server's process, a request."""
        return {
            "per_s": round(self.measured.rate, 1),
            "p50_ms": round(self.measured.p50_ms, 3),
            "p99_ms": round(self.measured.p99_ms, 3),
            "cpu_us": round(self.cpu_us, 1),
            "refused": self.measured.refused,
        }


def scenarios(people: Sequence[Person]) -> Sequence[Scenario]:
    """Return what is measured against the limit."""
    asked = ",".join(str(number) for number in range(1, PRODUCTS + 1))
    return (
        Scenario(
            name="list",
            title="List ten favorites",
            service=[_own(person, "GET", "") for person in people],
            limit=[_plain(person, "GET", "") for person in people],
        ),
        Scenario(
            name="product",
            title="Read a product",
            service=[
                request(
                    "GET",
                    f"/products/{number % PRODUCTS + 1}",
                    {"X-Forwarded-For": _address(number)},
                )
                for number in range(len(people))
            ],
            limit=[request("GET", f"/products/{number + 1}") for number in range(PRODUCTS)],
        ),
        Scenario(
            name="contains",
            title="Which of twenty are favorites",
            service=[_own(person, "GET", f"/contains?product_ids={asked}") for person in people],
            limit=[_plain(person, "GET", f"/contains?product_ids={asked}") for person in people],
        ),
        Scenario(
            name="add",
            title="Add a favorite",
            service=[_own(person, "PUT", f"/{number}") for number in _new() for person in people],
            limit=[_plain(person, "PUT", f"/{number}") for number in _new() for person in people],
            writes=True,
        ),
    )


def sign_ins(people: Sequence[Person]) -> Sequence[bytes]:
    """Return sign-ins of everybody, each from another address."""
    return [
        request(
            "POST",
            "/auth/sign-in",
            {"X-Forwarded-For": _address(number)},
            f'{{"email": "{person.email}", "password": "{PASSWORD}"}}'.encode(),
        )
        for number, person in enumerate(people)
    ]


def conditional_lists(stage: Stage, *, count: int = 1000) -> Sequence[bytes]:
    """Return lists asked for by those who hold the newest already; none if lists have no tags."""
    conditional = []
    for person in stage.people[:count]:
        _, headers, _ = ask(stage.service.port, _own(person, "GET", ""))
        tag = headers.get("etag")
        if tag is None:
            return ()
        conditional.append(_own(person, "GET", "", {"If-None-Match": tag}))
    status, _, body = ask(stage.service.port, conditional[0])
    if status != 304 or body is not None:
        raise WrongAnswerError(f"An unchanged list is answered with {status}.")
    return conditional


@dataclass(kw_only=True)
class Driver:
    """Makes the load of rounds, and looks at answers meanwhile."""

    stage: Stage
    expected: dict[bytes, object] = field(default_factory=dict)

    def round(
        self,
        server: Server,
        load: Load,
        *,
        seconds: float,
        connections: int = CONNECTIONS,
        right: Mapping[bytes, object] | None = None,
        may_refuse: bool = False,
    ) -> Round:
        """
        Drive a server for a while; `right` has answers to compare with what it says meanwhile.

        Beyond what it can do it `may_refuse`, which is then part of the figures.

        :raises WrongAnswerError: if a single answer was not right
        """
        cpu_s = server.cpu_s()
        running = load.start(seconds=seconds, connections=connections)
        sampled = 0
        pairs = list((right or {}).items())
        while not running.is_over(within_s=SAMPLE_EVERY_S):
            if pairs:
                asked, answer = pairs[sampled % len(pairs)]
                check(server.port, asked, answer)
                sampled += 1
        measured = running.wait()
        if measured.broken or (measured.refused and not may_refuse):
            raise WrongAnswerError(
                f"{measured.refused} of {measured.requests} requests were refused,"
                f" {measured.broken} failed."
            )
        cost_us = (server.cpu_s() - cpu_s) / measured.requests * 1e6
        return Round(measured=measured, cpu_us=cost_us, sampled=sampled)


def check(port: int, asked: bytes, answer: object) -> None:
    """
    Ask, and compare the answer.

    :raises WrongAnswerError: if it is another one
    """
    status, _, body = ask(port, asked)
    if status != 200 or body != answer:
        raise WrongAnswerError(f"{asked.splitlines()[0]!r} is answered {status} {body}")


def agreed(stage: Stage, scenario: Scenario, *, count: int = 50) -> Mapping[bytes, Any]:
    """
    Return what some requests to the service have to be answered: what the limit says.

    :raises WrongAnswerError: if the two do not agree
    """
    right = {}
    for ours, theirs in zip(scenario.service[:count], scenario.limit[:count], strict=False):
        status, _, body = ask(stage.limit.port, theirs)
        if status != 200:
            raise WrongAnswerError(f"The limit answers {status}.")
        check(stage.service.port, ours, body)
        right[ours] = body
    return right


def _new() -> range:
    # More of each person than is added in a round, and no more for the driver to read before it.
    return range(FAVORITES + 1, FAVORITES + 5)


def _address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _own(
    person: Person, method: str, path: str, headers: Mapping[str, str] | None = None
) -> bytes:
    return request(
        method,
        f"/customers/me/favorites{path}",
        {"Authorization": f"Bearer {person.token}", **(headers or {})},
    )


def _plain(person: Person, method: str, path: str) -> bytes:
    return request(method, f"/customers/{person.id}/favorites{path}")
