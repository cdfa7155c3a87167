"""Bulk data for a measurement: products, customers, their favorites, and credentials."""

import hashlib
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
PASSWORD = "caju e maracuja"  # noqa: S105 - of customers in a temporary database
KEY_ID, SECRET = "bench", "a-key-for-a-service-that-lives-for-a-minute"
TOKEN_TTL = timedelta(hours=12)
API_KEY_SECRET = "be" * 32
API_KEY = f"aiq_bench_{API_KEY_SECRET}"
API_KEY_SCOPES = ["customers:read", "favorites:read"]
SETTLED_S = 0.2
"""Longer than a statement takes."""

_CATALOG = Path(__file__).resolve().parent.parent / "fakestore" / "products.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer and the access token of their session."""

    id: UUID
    name: str
    email: str
    created_at: datetime
    token: str = field(repr=False)

    def as_json(self) -> dict[str, str]:
        """Return the customer as the API shows it."""
        created = self.created_at.isoformat().replace("+00:00", "Z")
        return {
            "id": str(self.id),
            "name": self.name,
            "email": self.email,
            "role": "customer",
            "created_at": created,
            "updated_at": created,
        }


def customer_id(number: int) -> UUID:
    """Return the id of a customer; consecutive numbers are as far apart as random ids."""
    return UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4)


def fill(url: str, *, customers: int, collectors: int = 0) -> Sequence[Customer]:
    """
    Create products, an API key, and signed-in customers; return the customers.

    The last `collectors` of them have all twenty products as favorites, the others the first ten.
    All have the same password, hashed once.
    """
    # Some JSON writers drop trailing zeros of a fraction, so it has none.
    now = datetime.now(UTC).replace(microsecond=123457)
    password_hash = Argon2Parameters().hash(PASSWORD.encode())
    with psycopg.connect(url) as connection:
        _create_products(connection, now)
        created = _create_customers(connection, customers + collectors, password_hash, now)
        _create_api_key(connection, now)
        for group, favorites in (
            (created[:customers], FAVORITES),
            (created[customers:], PRODUCTS),
        ):
            ids = [customer.id for customer in group]
            connection.execute(_FAVORITES, {"ids": ids, "favorites": favorites})
        connection.execute(_LISTS)
        connection.execute(_POPULARITY)
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    return created


def remove_added(url: str, customers: Sequence[Customer]) -> int:
    """
    Remove the favorites that a round added for these customers; return how many there were.

    Lists and popularity get back their earlier state. Rows are found by index, because others may
    have ten million favorites.
    """
    parameters = {"ids": [each.id for each in customers], "favorites": FAVORITES}
    with psycopg.connect(url, autocommit=True) as connection:
        _wait_for_running_writes(connection, parameters)
        removed = connection.execute(f"DELETE {_ADDED}", parameters)
        connection.execute(_RESTORE_LISTS, parameters)
        connection.execute(_RESTORE_POPULARITY, parameters)
        connection.execute("VACUUM favorites")
        return removed.rowcount


def _wait_for_running_writes(
    connection: psycopg.Connection, parameters: Mapping[str, object]
) -> None:
    """Wait until the requests in flight at the end of the load are committed or abandoned."""

    def count() -> int:
        row = connection.execute(f"SELECT count(*) {_ADDED}", parameters).fetchone()
        return 0 if row is None else int(row[0])

    before, now = -1, count()
    while before != now:
        time.sleep(SETTLED_S)
        before, now = now, count()


def _create_products(connection: psycopg.Connection, now: datetime) -> None:
    catalog = json.loads(_CATALOG.read_text(encoding="utf-8"))
    with connection.cursor().copy(
        "COPY products_cache (product_id, title, title_key, price, price_since, description,"
        " category, image, rating_rate, rating_count, fetched_at) FROM STDIN"
    ) as copy:
        for number, product in enumerate(catalog[:PRODUCTS], start=1):
            title = product["title"].strip()
            rating = product.get("rating") or {"rate": None, "count": None}
            copy.write_row(
                (
                    number,
                    title,
                    fold(title),
                    product["price"],
                    now,
                    product["description"],
                    product["category"],
                    f"https://fakestoreapi.com/img/{number:08d}.jpg",
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


def _create_customers(
    connection: psycopg.Connection, count: int, password_hash: str, now: datetime
) -> Sequence[Customer]:
    issuer = JwtTokenIssuer(
        keys=SigningKeys({KEY_ID: SECRET.encode()}),
        issuer="favorites",
        audience="favorites",
        ttl=TOKEN_TTL,
    )
    created = []
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
            created.append(Customer(id=id_, name=name, email=email, created_at=now, token=token))
            copy.write_row(
                (id_, name, fold(name), email, email, password_hash, "customer", now, now, 1)
            )
    connection.execute(
        "INSERT INTO sessions (id, customer_id, device, created_at, last_used_at,"
        " idle_expires_at, expires_at)"
        " SELECT id, id, 'bench', created_at, created_at, created_at + interval '14 days',"
        " created_at + interval '90 days' FROM customers"
    )
    return created


def _create_api_key(connection: psycopg.Connection, now: datetime) -> None:
    secret_hash = hashlib.sha256(API_KEY_SECRET.encode()).digest()
    connection.execute(
        "INSERT INTO api_keys (id, name, secret_hash, scopes, created_at)"
        " VALUES ('bench', 'Benchmark', %s, %s, %s)",
        [secret_hash, API_KEY_SCOPES, now],
    )


_ADDED = "FROM favorites WHERE customer_id = ANY (%(ids)s) AND product_id > %(favorites)s"

# Lower product ids are newer. As in the service, each favorite has the list version that added it.
_FAVORITES = """
    INSERT INTO favorites (
        customer_id, product_id, favorited_at, snapshot_title, snapshot_price, snapshot_image,
        snapshot_rate, snapshot_rating_count, added_in, changed_in
    )
    SELECT
        customers.id, product_id,
        customers.created_at - product_id * interval '1.000001 hours',
        title, price, image, rating_rate, rating_count,
        %(favorites)s + 1 - product_id, %(favorites)s + 1 - product_id
    FROM customers CROSS JOIN products_cache
    WHERE customers.id = ANY (%(ids)s) AND product_id <= %(favorites)s
"""
_LISTS = """
    INSERT INTO favorite_lists (customer_id, version, size)
    SELECT customer_id, count(*), count(*) FROM favorites GROUP BY customer_id
"""
_RESTORE_LISTS = """
    UPDATE favorite_lists SET version = %(favorites)s, size = %(favorites)s
    WHERE customer_id = ANY (%(ids)s)
"""
_POPULARITY = """
    INSERT INTO product_popularity (product_id, favorites)
    SELECT product_id, count(*) FROM favorites GROUP BY product_id
"""
_RESTORE_POPULARITY = """
    UPDATE product_popularity AS p
    SET favorites = (SELECT count(*) FROM favorites AS f WHERE f.product_id = p.product_id)
    WHERE product_id > %(favorites)s
"""
