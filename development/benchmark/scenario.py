"""The operations that are measured beside the limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from development.benchmark.data import PRODUCTS, Customer, remove_added
from development.benchmark.load import Load, request
from development.benchmark.requests import anonymous, new_favorites, own, plain
from development.benchmark.rounds import (
    CONNECTIONS,
    Comparison,
    Round,
    Side,
    WrongAnswerError,
    check,
)
from development.benchmark.testbed import Testbed, ask

SAMPLES = 50
"""Of how many requests the answers are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Requests to the service, and requests to the limit that do the same work."""

    name: str
    title: str
    target: float
    service: Sequence[bytes]
    limit: Sequence[bytes]
    writes: bool = False


def scenarios(customers: Sequence[Customer]) -> Sequence[Scenario]:
    """Return the operations, for these customers."""
    ids = ",".join(str(number) for number in range(1, PRODUCTS + 1))
    contains = f"/contains?product_ids={ids}"
    return (
        Scenario(
            name="list",
            title="List ten favorites",
            target=0.75,
            service=plain_lists(customers),
            limit=[plain(customer, "GET") for customer in customers],
        ),
        Scenario(
            name="product",
            title="Read a product",
            target=0.75,
            service=[
                anonymous(f"/products/{number % PRODUCTS + 1}", number)
                for number in range(len(customers))
            ],
            limit=[request("GET", f"/products/{number + 1}") for number in range(PRODUCTS)],
        ),
        Scenario(
            name="contains",
            title="Which of twenty are favorites",
            target=0.85,
            service=[own(customer, "GET", f"/favorites{contains}") for customer in customers],
            limit=[plain(customer, "GET", contains) for customer in customers],
        ),
        Scenario(
            name="add",
            title="Add a favorite",
            target=0.75,
            service=[
                own(customer, "PUT", f"/favorites/{product_id}")
                for customer, product_id in new_favorites(customers)
            ],
            limit=[
                plain(customer, "PUT", f"/{product_id}")
                for customer, product_id in new_favorites(customers)
            ],
            writes=True,
        ),
    )


def plain_lists(customers: Sequence[Customer]) -> Sequence[bytes]:
    """Return reads of the plain list: the first page, newest first, without filters."""
    return [own(customer, "GET", "/favorites") for customer in customers]


def compared_with_limit(testbed: Testbed, scenario: Scenario) -> Comparison:
    """
    Return the comparison of a scenario; what its rounds add is removed after each.

    :raises WrongAnswerError: if service and limit answer differently
    """

    def remove(done: Round) -> None:
        _check_added(remove_added(testbed.database_url, testbed.customers), done.measured.requests)

    settle = remove if scenario.writes else None
    limit = Load(testbed.limit.port, scenario.limit, testbed.directory, scenario.name)
    service = Load(testbed.service.port, scenario.service, testbed.directory, scenario.name)
    return Comparison(
        title=scenario.title,
        target=scenario.target,
        limit=Side(server=testbed.limit, load=limit, settle=settle),
        service=Side(
            server=testbed.service,
            load=service,
            expected={} if scenario.writes else _agreed_answers(testbed, scenario),
            settle=settle,
        ),
    )


def _check_added(stored: int, acknowledged: int) -> None:
    # Requests in flight at the end of a round are stored and not counted.
    if not acknowledged <= stored <= acknowledged + CONNECTIONS:
        raise WrongAnswerError(f"{acknowledged} favorites acknowledged, {stored} stored.")


def _agreed_answers(testbed: Testbed, scenario: Scenario) -> Mapping[bytes, Any]:
    """Return the limit's answers to some requests, after the service has given the same."""
    answers = {}
    for ours, theirs in zip(scenario.service[:SAMPLES], scenario.limit, strict=False):
        body = limit_answer(testbed, theirs)
        check(testbed.service.port, ours, body)
        answers[ours] = body
    return answers


def limit_answer(testbed: Testbed, request: bytes) -> Any:
    """
    Return the body of an answer of the limit.

    :raises WrongAnswerError: if it is not successful
    """
    status, _, body = ask(testbed.limit.port, request)
    if status != 200:
        raise WrongAnswerError(f"The limit answered {status}.")
    return body
