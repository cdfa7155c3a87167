"""Other reads, measured beside the plain list of ten favorites."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from development.benchmark.data import FAVORITES, PRODUCTS, Customer
from development.benchmark.load import Load, request
from development.benchmark.requests import anonymous, by_key, own, plain
from development.benchmark.rounds import Comparison, Json, Side, WrongAnswerError, check
from development.benchmark.scenario import SAMPLES, limit_answer, plain_lists
from development.benchmark.testbed import Testbed, ask

CONDITIONAL_LISTS = 1000
CUSTOMERS_PAGE = 25
CATEGORY = "jewelery"


@dataclass(frozen=True, slots=True)
class Prepared:
    """Requests of a variant, and the expected answers to the first of them."""

    requests: Sequence[bytes]
    answers: Sequence[object]


@dataclass(frozen=True, slots=True)
class Variant:
    """A read that is measured beside the plain list; `target` is the least ratio of the rates."""

    title: str
    target: float
    prepare: Callable[[Testbed], Prepared]


def beside_plain_list(testbed: Testbed, names: Iterable[str]) -> Sequence[Comparison]:
    """
    Return the comparisons of these variants with the plain list, which is one side of all.

    :raises WrongAnswerError: if the service does not answer as expected
    """
    port = testbed.service.port
    lists = Load(port, plain_lists(testbed.customers), testbed.directory, "plain-list")
    reference = Side(server=testbed.service, load=lists)
    comparisons = []
    for name in names:
        variant = VARIANTS[name]
        prepared = variant.prepare(testbed)
        expected = dict(zip(prepared.requests, prepared.answers, strict=False))
        for asked, answer in expected.items():
            check(port, asked, answer)
        load = Load(port, prepared.requests, testbed.directory, name)
        comparisons.append(
            Comparison(
                title=variant.title,
                target=variant.target,
                limit=reference,
                service=Side(server=testbed.service, load=load, expected=expected),
                beside="list",
            )
        )
    return comparisons


def _second_page(testbed: Testbed) -> Prepared:
    asked = []
    for collector in testbed.collectors:
        first_page = own(collector, "GET", f"/favorites?limit={FAVORITES}")
        following = _member(testbed, first_page, "next").removeprefix("/customers/me")
        asked.append(own(collector, "GET", following))
    return Prepared(
        asked,
        [_page(each[FAVORITES:]) for each in _favorites(testbed, testbed.collectors)],
    )


def _sorted(testbed: Testbed) -> Prepared:
    def price(item: Json) -> Decimal:
        return Decimal(item["product"]["price"])

    return Prepared(
        [own(each, "GET", "/favorites?sort=price") for each in testbed.customers],
        [_page(sorted(each, key=price)) for each in _favorites(testbed)],
    )


def _filtered(testbed: Testbed) -> Prepared:
    return Prepared(
        [own(each, "GET", f"/favorites?category={CATEGORY}") for each in testbed.customers],
        [
            _page([item for item in each if item["product"]["category"] == CATEGORY])
            for each in _favorites(testbed)
        ],
    )


def _by_key(testbed: Testbed) -> Prepared:
    return Prepared(
        [by_key(f"/customers/{each.id}/favorites") for each in testbed.customers],
        [_page(each) for each in _favorites(testbed)],
    )


def _favorite(testbed: Testbed) -> Prepared:
    return Prepared(
        [
            own(each, "GET", f"/favorites/{number % FAVORITES + 1}")
            for number, each in enumerate(testbed.customers)
        ],
        [
            next(item for item in each if item["product_id"] == number % FAVORITES + 1)
            for number, each in enumerate(_favorites(testbed))
        ],
    )


def _changes(testbed: Testbed) -> Prepared:
    asked = [own(each, "GET", "/favorites/changes") for each in testbed.customers]
    return Prepared(
        asked,
        [
            {
                "items": [
                    {"product_id": item["product_id"], "change": "added", "favorite": item}
                    for item in reversed(favorites)
                ],
                "cursor": _member(testbed, each, "cursor"),
                "more": False,
            }
            for each, favorites in zip(asked, _favorites(testbed), strict=False)
        ],
    )


def _popular(testbed: Testbed) -> Prepared:
    counts = {
        product_id: len(testbed.collectors)
        + (len(testbed.customers) if product_id <= FAVORITES else 0)
        for product_id in range(1, PRODUCTS + 1)
    }
    ranked = sorted(counts, key=lambda each: (counts[each], each), reverse=True)
    answer = {
        "items": [
            {
                **limit_answer(testbed, request("GET", f"/products/{each}")),
                "favorites": counts[each],
            }
            for each in ranked
        ]
    }
    count = len(testbed.customers)
    return Prepared(
        [anonymous("/products/popular", number) for number in range(count)],
        [answer] * SAMPLES,
    )


def _profile(testbed: Testbed) -> Prepared:
    return Prepared(
        [own(each, "GET", "/profile") for each in testbed.customers],
        [
            {"customer": customer.as_json(), "favorites": _page(favorites)}
            for customer, favorites in zip(testbed.customers, _favorites(testbed), strict=False)
        ],
    )


def _customers(testbed: Testbed) -> Prepared:
    asked = by_key("/customers")
    # All were created at the same moment: the id decides.
    oldest = sorted((*testbed.customers, *testbed.collectors), key=lambda each: each.id)
    answer = {
        "items": [each.as_json() for each in oldest[:CUSTOMERS_PAGE]],
        "next": _member(testbed, asked, "next"),
    }
    return Prepared([asked], [answer])


def _unchanged(testbed: Testbed) -> Prepared:
    asked = []
    for customer in testbed.customers[:CONDITIONAL_LISTS]:
        _, headers, _ = ask(testbed.service.port, own(customer, "GET", "/favorites"))
        held = {"If-None-Match": headers.get("etag", "")}
        asked.append(own(customer, "GET", "/favorites", held))
    return Prepared(asked, [None] * SAMPLES)


VARIANTS: Mapping[str, Variant] = {
    "page_2": Variant("The second ten of twenty", 0.5, _second_page),
    "sorted": Variant("Ten favorites by price", 0.5, _sorted),
    "filtered": Variant("The favorites of one category", 0.5, _filtered),
    "by_key": Variant("Ten favorites, by API key", 0.5, _by_key),
    "favorite": Variant("One favorite", 0.5, _favorite),
    "changes": Variant("Changes, from the beginning", 0.5, _changes),
    "popular": Variant("Twenty popular products", 0.5, _popular),
    "profile": Variant("Profile with ten favorites", 0.35, _profile),
    "customers": Variant("Page of customers, by API key", 0.25, _customers),
    "unchanged": Variant("An unchanged list (304)", 1.5, _unchanged),
}


def _favorites(
    testbed: Testbed, customers: Sequence[Customer] | None = None
) -> Sequence[Sequence[Json]]:
    """Return all favorites of some customers, newest first, as the limit shows them."""
    return [
        limit_answer(testbed, plain(each, "GET"))["items"]
        for each in (customers or testbed.customers)[:SAMPLES]
    ]


def _page(items: Sequence[Json]) -> Json:
    return {"items": list(items)}


def _member(testbed: Testbed, asked: bytes, name: str) -> str:
    """Return a text that only the service can make, from one of its answers."""
    status, _, body = ask(testbed.service.port, asked)
    found = body.get(name) if isinstance(body, dict) else None
    if status != 200 or not isinstance(found, str):
        raise WrongAnswerError(f"{asked.splitlines()[0]!r} was answered {status} {body}")
    return found
