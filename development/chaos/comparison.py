"""The ledger and the database side by side: nothing lost, nothing doubled."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from development.chaos.account import Account
from development.chaos.ledger import Entry, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFavorite:
    """A favorite as the database has it."""

    confirmed: bool
    rejected: bool
    changed_in: int


@dataclass(slots=True, kw_only=True)
class HeldCustomer:
    """A customer with a list as the database has them; `removed` are remembered removals."""

    accounts: int = 1
    favorites: dict[int, HeldFavorite] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    version: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """
    What the database has: customers by their address, counts of favorites by product.

    `prices` counts how often a price of a product was written down, `jobs` are those of the queue
    that are about a product, or have failed.
    """

    customers: Mapping[str, HeldCustomer]
    popularity: Mapping[int, int]
    prices: Mapping[int, int]
    jobs: Sequence[str]


def read_held(url: str) -> Held:
    """Read everything in one snapshot."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return _read(connection)


def _read(connection: psycopg.Connection) -> Held:
    customers: dict[str, HeldCustomer] = {}
    addresses: dict[object, str] = {}
    for customer_id, email in connection.execute("SELECT id, email FROM customers"):
        addresses[customer_id] = email
        if email in customers:
            customers[email].accounts += 1
        else:
            customers[email] = HeldCustomer()
    for customer_id, version, size in connection.execute(
        "SELECT customer_id, version, size FROM favorite_lists"
    ):
        customer = customers[addresses[customer_id]]
        customer.version, customer.size = version, size
    for customer_id, product_id, confirmed, rejected, changed_in in connection.execute(
        "SELECT customer_id, product_id, snapshot_title IS NOT NULL, rejected_at IS NOT NULL,"
        " changed_in FROM favorites"
    ):
        customers[addresses[customer_id]].favorites[product_id] = HeldFavorite(
            confirmed=confirmed, rejected=rejected, changed_in=changed_in
        )
    for customer_id, product_id in connection.execute(
        "SELECT customer_id, product_id FROM favorite_tombstones"
    ):
        customers[addresses[customer_id]].removed.add(product_id)
    return Held(
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


def compare(entries: Iterable[Entry], held: Held, *, invented: Collection[int] = ()) -> list[str]:
    """
    Return everything in which the database is not what clients were told; nothing if all is well.

    `invented` are the products that the catalog does not have. No price has changed, and nobody is
    at work any more.
    """
    entries = list(entries)
    accounts: dict[str, Account] = {}
    faults: list[str] = []
    for entry in entries:
        if not entry.signs_up:
            account = accounts.setdefault(entry.who, Account(invented=invented))
            faults += account.note(entry)
    faults += _customers(entries, held)
    nothing = Account()
    for who, customer in held.customers.items():
        account = accounts.get(who, nothing)
        faults += (
            f"{who}: {fault}"
            for fault in (*_favorites(account, customer), *_list(account, customer))
        )
    faults += _counts(held)
    faults += held.jobs
    return faults


def _customers(entries: Iterable[Entry], held: Held) -> Iterator[str]:
    wanted: dict[str, bool] = {}
    for entry in entries:
        if entry.signs_up:
            # A refusal after a try of unknown outcome says that the address is taken: by that.
            known = entry.verdict is Verdict.ACKNOWLEDGED or (
                entry.status == 409 and entry.who in wanted
            )
            wanted[entry.who] = wanted.get(entry.who, False) or known
    for who, acknowledged in wanted.items():
        if acknowledged and who not in held.customers:
            yield f"{who}: the account was acknowledged, and is lost"
    for who, customer in held.customers.items():
        if who not in wanted:
            yield f"{who}: has an account, and nobody ever asked for that"
        if customer.accounts != 1:
            yield f"{who}: has {customer.accounts} accounts"


def _favorites(account: Account, customer: HeldCustomer) -> Iterator[str]:
    yield from account.contradictions(customer.favorites)
    yield from account.half_done(customer.favorites)
    for product_id, favorite in customer.favorites.items():
        if not favorite.confirmed and not favorite.rejected:
            yield f"product {product_id} is pending for ever"
        elif favorite.rejected != (product_id in account.invented):
            yield f"product {product_id} was {'rejected' if favorite.rejected else 'confirmed'}"
        if product_id in customer.removed:
            yield f"product {product_id} is a favorite, and remembered as removed"
    for product_id, belief in account.beliefs.items():
        known = {*customer.removed, *customer.favorites}
        if belief.remembered and not belief.doubts and product_id not in known:
            yield f"the removal of product {product_id} is not remembered"


def _list(account: Account, customer: HeldCustomer) -> Iterator[str]:
    count = len(customer.favorites)
    if customer.size != count:
        yield f"the list counts {customer.size} favorites and has {count}"
    newest = max((favorite.changed_in for favorite in customer.favorites.values()), default=0)
    if newest > customer.version:
        yield f"a favorite changed in version {newest}, and the list is at {customer.version}"
    if not account.least <= customer.version <= account.most:
        yield (
            f"the list has changed {customer.version} times, and"
            f" {account.least} to {account.most} changes were asked for"
        )


def _counts(held: Held) -> Iterator[str]:
    counted = Counter(
        product_id for customer in held.customers.values() for product_id in customer.favorites
    )
    for product_id in sorted({*counted, *held.popularity}):
        told = held.popularity.get(product_id, 0)
        if told != counted[product_id]:
            yield f"product {product_id} counts {told} favorites and has {counted[product_id]}"
    for product_id, prices in held.prices.items():
        if prices > 1:
            yield f"the price of product {product_id} was written down {prices} times"
