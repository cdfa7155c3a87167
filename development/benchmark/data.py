"""Customers, favorites and products in bulk, and the credentials that go with them."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg

from app.domain.access import CustomerPrincipal
from app.domain.customer import CustomerId, Role, fold
from app.domain.session import SessionId
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.security.signing_keys import SigningKeys
from app.infra.security.token import JwtTokenIssuer

PRODUCTS = 20
FAVORITES = 10
PASSWORD = "caju e maracuja"  # noqa: S105 - of customers that exist for a minute
KEY_ID, SECRET = "bench", "a-key-for-a-service-that-lives-for-a-minute"
TOKEN_TTL = timedelta(hours=12)
SETTLED_S = 0.2
"""Longer than a statement takes."""

_CATALOG = Path(__file__).resolve().parent.parent / "fakestore" / "products.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A customer, and the access token of their session."""

    id: UUID
    email: str
    token: str = field(repr=False)


def customer_id(number: int) -> UUID:
    """Return the id of a customer; consecutive numbers are far apart, as random ids are."""
    return UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4)


def fill(url: str, *, customers: int, favorites: int = FAVORITES) -> Sequence[Person]:
    """
    Make products and customers with favorites of the first of them; each customer is signed in.

    Everybody has the same password, hashed once.
    """
    # No zeros at the end, which some writers of JSON leave out.
    now = datetime.now(UTC).replace(microsecond=123457)
    password_hash = Argon2Parameters().hash(PASSWORD.encode())
    with psycopg.connect(url) as connection:
        _make_products(connection, now, max(PRODUCTS, favorites + FAVORITES))
        people = _make_customers(connection, customers, password_hash, now)
        connection.execute(_FAVORITES, {"favorites": favorites})
        connection.execute(_LISTS)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    return people


def remove_added(url: str, people: Sequence[Person], *, favorites: int = FAVORITES) -> int:
    """
    Take away what these people have favorited since the beginning; tell how many.

    By index: others may have ten million favorites.
    """
    of_whom = {"ids": [person.id for person in people], "favorites": favorites}
    with psycopg.connect(url, autocommit=True) as connection:
        _wait_for_the_last(connection, of_whom)
        removed = connection.execute(f"DELETE {_ADDED}", of_whom)
        connection.execute(_LISTS_AS_BEFORE, of_whom)
        connection.execute("VACUUM favorites")
        return removed.rowcount


def _wait_for_the_last(connection: psycopg.Connection, of_whom: Mapping[str, object]) -> None:
    """Wait until what was under way when the load ended has been written or given up."""
    before, now = -1, 0
    while before != now:
        time.sleep(SETTLED_S)
        written = connection.execute(f"SELECT count(*) {_ADDED}", of_whom).fetchone()
        before, now = now, 0 if written is None else written[0]


def _make_products(connection: psycopg.Connection, now: datetime, count: int) -> None:
    catalog = json.loads(_CATALOG.read_text(encoding="utf-8"))
    with connection.cursor().copy(
        "COPY products_cache (product_id, title, title_key, price, price_since, description,"
        " category, image, rating_rate, rating_count, fetched_at) FROM STDIN"
    ) as copy:
        for number in range(count):
            product = catalog[number % len(catalog)]
            title = product["title"].strip()
            rating = product.get("rating") or {"rate": None, "count": None}
            copy.write_row(
                (
                    number + 1,
                    title,
                    fold(title),
                    product["price"],
                    now,
                    product["description"],
                    product["category"],
                    f"https://fakestoreapi.com/img/{number + 1:08d}.jpg",
                    rating["rate"],
                    rating["count"],
                    now,
                )
            )
    connection.execute(
        "INSERT INTO catalog_state (id, fetched_at) VALUES (1, %s)"
        " ON CONFLICT (id) DO UPDATE SET fetched_at = excluded.fetched_at",
        [now],
    )


def _make_customers(
    connection: psycopg.Connection, count: int, password_hash: str, now: datetime
) -> Sequence[Person]:
    issuer = JwtTokenIssuer(
        keys=SigningKeys({KEY_ID: SECRET.encode()}),
        issuer="favorites",
        audience="favorites",
        ttl=TOKEN_TTL,
    )
    people = []
    with connection.cursor().copy(
        "COPY customers (id, name, name_key, email, email_key, password_hash, role, created_at,"
        " updated_at, version) FROM STDIN"
    ) as copy:
        for number in range(1, count + 1):
            id_ = customer_id(number)
            name, email = f"Customer {number}", f"customer{number}@example.com"
            principal = CustomerPrincipal(
                customer_id=CustomerId(id_), session_id=SessionId(id_), role=Role.CUSTOMER
            )
            token = issuer.issue(principal, now=now).value
            people.append(Person(id=id_, email=email, token=token))
            copy.write_row(
                (id_, name, fold(name), email, email, password_hash, "customer", now, now, 1)
            )
    connection.execute(
        "INSERT INTO sessions (id, customer_id, device, created_at, last_used_at,"
        " idle_expires_at, expires_at)"
        " SELECT id, id, 'bench', created_at, created_at, created_at + interval '14 days',"
        " created_at + interval '90 days' FROM customers"
    )
    return people


_ADDED = "FROM favorites WHERE customer_id = ANY (%(ids)s) AND product_id > %(favorites)s"
_LISTS_AS_BEFORE = (
    "UPDATE favorite_lists SET size = %(favorites)s WHERE customer_id = ANY (%(ids)s)"
)
_FAVORITES = """
    INSERT INTO favorites (
        customer_id, product_id, favorited_at, snapshot_title, snapshot_price, snapshot_image,
        snapshot_rate, snapshot_rating_count
    )
    SELECT
        customers.id, product_id,
        customers.created_at - product_id * interval '1.000001 hours',
        title, price, image, rating_rate, rating_count
    FROM customers CROSS JOIN products_cache
    WHERE product_id <= %(favorites)s
"""

# As the service keeps it: each list knows its size.
_LISTS = """
    INSERT INTO favorite_lists (customer_id, version, size)
    SELECT customer_id, 1, count(*) FROM favorites GROUP BY customer_id
    ON CONFLICT (customer_id) DO UPDATE SET size = excluded.size
"""
