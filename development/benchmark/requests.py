"""Prepared HTTP requests to the service and to the limit."""

from collections.abc import Iterator, Mapping, Sequence

from development.benchmark.data import API_KEY, FAVORITES, PASSWORD, Customer
from development.benchmark.load import request


def own(
    customer: Customer, method: str, path: str, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return a request of a signed-in customer; `path` follows `/customers/me`."""
    return request(
        method,
        f"/customers/me{path}",
        {"Authorization": f"Bearer {customer.token}", **(headers or {})},
    )


def by_key(path: str) -> bytes:
    """Return a read with the benchmark's API key."""
    return request("GET", path, {"x-aiqfome-api-key": API_KEY})


def anonymous(path: str, number: int) -> bytes:
    """Return a read without credentials; each number is another client address."""
    return request("GET", path, _from_address(number))


def plain(customer: Customer, method: str, path: str = "") -> bytes:
    """Return a request to the limit; `path` follows the customer's `/favorites`."""
    return request(method, f"/customers/{customer.id}/favorites{path}")


def sign_ins(customers: Sequence[Customer]) -> Sequence[bytes]:
    """Return a sign-in of each customer, each from another client address."""
    return [
        request(
            "POST",
            "/auth/sign-in",
            _from_address(number),
            f'{{"email": "{customer.email}", "password": "{PASSWORD}"}}'.encode(),
        )
        for number, customer in enumerate(customers)
    ]


def new_favorites(customers: Sequence[Customer]) -> Iterator[tuple[Customer, int]]:
    """Yield more new favorites than a round adds, each customer's far apart."""
    for product_id in range(FAVORITES + 1, FAVORITES + 5):
        for customer in customers:
            yield customer, product_id


def _from_address(number: int) -> dict[str, str]:
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return {"X-Forwarded-For": address}
