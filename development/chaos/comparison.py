"""Comparison of the ledger with the database: nothing may be lost or doubled."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from development.chaos.expectation import ExpectedList
from development.chaos.ledger import Entry, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFavorite:
    """A favorite in the database."""

    confirmed: bool
    rejected: bool
    changed_in: int


@dataclass(slots=True, kw_only=True)
class StoredCustomer:
    """A customer and their list in the database; `removed` are remembered removals."""

    accounts: int = 1
    favorites: dict[int, StoredFavorite] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    version: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """
    The content of the database: customers by email, counts of favorites by product.

    `prices` are numbers of recorded prices by product; `jobs` are jobs of the queue that validate
    a product or have failed.
    """

    customers: Mapping[str, StoredCustomer]
    popularity: Mapping[int, int]
    prices: Mapping[int, int]
    jobs: Sequence[str]


def read_state(url: str) -> DatabaseState:
    """Read the content of a database in one snapshot."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return _read(connection)


def _read(connection: psycopg.Connection) -> DatabaseState:
    customers: dict[str, StoredCustomer] = {}
    emails: dict[object, str] = {}
    for customer_id, email in connection.execute("SELECT id, email FROM customers"):
        emails[customer_id] = email
        if email in customers:
            customers[email].accounts += 1
        else:
            customers[email] = StoredCustomer()
    for customer_id, version, size in connection.execute(
        "SELECT customer_id, version, size FROM favorite_lists"
    ):
        customer = customers[emails[customer_id]]
        customer.version, customer.size = version, size
    for customer_id, product_id, confirmed, rejected, changed_in in connection.execute(
        "SELECT customer_id, product_id, snapshot_title IS NOT NULL, rejected_at IS NOT NULL,"
        " changed_in FROM favorites"
    ):
        customers[emails[customer_id]].favorites[product_id] = StoredFavorite(
            confirmed=confirmed, rejected=rejected, changed_in=changed_in
        )
    for customer_id, product_id in connection.execute(
        "SELECT customer_id, product_id FROM favorite_tombstones"
    ):
        customers[emails[customer_id]].removed.add(product_id)
    return DatabaseState(
        customers=customers,
        popularity=dict(
            connection.execute("SELECT product_id, favorites FROM product_popularity").fetchall()
        ),
        prices=dict(
            connection.execute(
                "SELECT product_id, count(*)::integer FROM product_prices GROUP BY product_id"
            ).fetchall()
        ),
        jobs=[
            f"job {number} ({task} {args}) is {status}"
            for number, task, args, status in connection.execute(
                "SELECT id, task_name, args::text, status::text FROM procrastinate_jobs"
                " WHERE task_name = 'validate_product' OR status NOT IN ('todo', 'doing')"
                " ORDER BY id"
            )
        ],
    )


def compare(
    entries: Iterable[Entry], state: DatabaseState, *, nonexistent: Collection[int] = ()
) -> list[str]:
    """
    Return the differences between the database and the answers that clients got.

    The catalog has none of the `nonexistent` products. No price has changed, and no request or job
    is running any more.
    """
    entries = list(entries)
    lists: dict[str, ExpectedList] = {}
    differences: list[str] = []
    for entry in entries:
        if not entry.is_sign_up:
            expected = lists.setdefault(entry.email, ExpectedList(nonexistent=nonexistent))
            differences += expected.note(entry)
    differences += _customers(entries, state)
    for email, customer in state.customers.items():
        expected = lists.get(email, ExpectedList())
        differences += (
            f"{email}: {difference}"
            for difference in (*_favorites(expected, customer), *_list(expected, customer))
        )
    return [*differences, *_counts(state), *state.jobs]


def _customers(entries: Iterable[Entry], state: DatabaseState) -> Iterator[str]:
    wanted: dict[str, bool] = {}
    for entry in entries:
        if entry.is_sign_up:
            # After an attempt of unknown outcome, a conflict proves that it succeeded.
            known = entry.verdict is Verdict.ACKNOWLEDGED or (
                entry.status == 409 and entry.email in wanted
            )
            wanted[entry.email] = wanted.get(entry.email, False) or known
    for email, acknowledged in wanted.items():
        if acknowledged and email not in state.customers:
            yield f"{email}: the account was acknowledged and is lost"
    for email, customer in state.customers.items():
        if email not in wanted:
            yield f"{email}: has an account that was never requested"
        if customer.accounts != 1:
            yield f"{email}: has {customer.accounts} accounts"


def _favorites(expected: ExpectedList, customer: StoredCustomer) -> Iterator[str]:
    yield from expected.contradictions(customer.favorites)
    yield from expected.partial_batches(customer.favorites)
    for product_id, favorite in customer.favorites.items():
        if not favorite.confirmed and not favorite.rejected:
            yield f"product {product_id} is still pending"
        elif favorite.rejected != (product_id in expected.nonexistent):
            yield f"product {product_id} was {'rejected' if favorite.rejected else 'confirmed'}"
        if product_id in customer.removed:
            yield f"product {product_id} is a favorite and remembered as removed"
    for product_id, expectation in expected.expectations.items():
        known = {*customer.removed, *customer.favorites}
        if expectation.remembered and not expectation.unresolved and product_id not in known:
            yield f"the removal of product {product_id} is not remembered"


def _list(expected: ExpectedList, customer: StoredCustomer) -> Iterator[str]:
    count = len(customer.favorites)
    if customer.size != count:
        yield f"the list counts {customer.size} favorites and has {count}"
    newest = max((favorite.changed_in for favorite in customer.favorites.values()), default=0)
    if newest > customer.version:
        yield f"a favorite changed in version {newest}, and the list is at {customer.version}"
    if not expected.least <= customer.version <= expected.most:
        yield (
            f"the list has changed {customer.version} times;"
            f" {expected.least} to {expected.most} changes were requested"
        )


def _counts(state: DatabaseState) -> Iterator[str]:
    counted = Counter(
        product_id for customer in state.customers.values() for product_id in customer.favorites
    )
    for product_id in sorted({*counted, *state.popularity}):
        stored = state.popularity.get(product_id, 0)
        if stored != counted[product_id]:
            yield f"product {product_id} counts {stored} favorites and has {counted[product_id]}"
    for product_id, prices in state.prices.items():
        if prices > 1:
            yield f"the price of product {product_id} was recorded {prices} times"
