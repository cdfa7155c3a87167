"""How many statements a request costs, however many items it shows."""

from collections.abc import AsyncGenerator, Sequence

import pytest
import pytest_asyncio

from app.domain.access import Scope
from development.postgres import EmbeddedPostgres
from tests.integration.service.harness import Service
from tests.integration.service.ledger import Ledger
from tests.integration.service.people import PASSWORD, People, employ

pytestmark = pytest.mark.postgres


@pytest.fixture
def ledger(own_database: EmbeddedPostgres) -> Ledger:
    return Ledger(own_database)


@pytest_asyncio.fixture
async def people(own_service: Service) -> AsyncGenerator[People]:
    staff = employ(own_service.database_url, [frozenset(Scope)])
    async with People(own_service, staff) as people:
        yield people


# How many statements a request may cost, in the order in which they are made. The first of a kind
# costs more: a new connection reads types once, and a process reads products once.
BUDGET: Sequence[tuple[str, str, int]] = [
    ("GET", "/customers/me", 2),
    ("PATCH", "/customers/me", 3),
    ("GET", "/customers/me/favorites", 2),
    ("GET", "/customers/me/favorites?sort=price&category=tests&q=product", 1),
    ("GET", "/customers/me/favorites/{known}", 1),
    ("GET", "/customers/me/favorites/contains?product_ids=1,2,3", 1),
    ("GET", "/customers/me/profile", 1),
    ("PUT", "/customers/me/favorites/{known}", 1),
    ("DELETE", "/customers/me/favorites/{known}", 1),
    ("PUT", "/customers/me/favorites/{known}", 1),
    ("PUT", "/customers/me/favorites/{cold}", 8),
    ("GET", "/customers/me/sessions", 2),
    ("GET", "/customers/me/export", 5),
    ("GET", "/products/{known}", 1),
    ("GET", "/products/{known}/price-history", 1),
    ("GET", "/products", 11),
    ("GET", "/products", 1),
    ("GET", "/health/live", 0),
    ("GET", "/health/ready", 2),
    ("POST", "/auth/sign-in", 2),
    ("POST", "/auth/refresh", 6),
    ("PUT", "/customers/me/password", 7),
    ("POST", "/auth/sign-out", 3),
]
BODIES = {
    "PATCH /customers/me": {"name": "Lia"},
    "PUT /customers/me/password": {
        "current_password": PASSWORD,
        "new_password": f"{PASSWORD} e mais",
    },
}


async def test_no_route_costs_more_than_its_budget(
    own_service: Service, people: People, ledger: Ledger
) -> None:
    customer = await people.customer()
    known, cold = own_service.store.new_product(), own_service.store.new_product()
    await customer.client.put(f"/customers/me/favorites/{known}")
    costs = []
    for method, path, _ in BUDGET:
        body = BODIES.get(f"{method} {path}")
        if path == "/auth/sign-in":
            body = {"email": customer.email, "password": customer.password}
        statements = await ledger.statements(
            customer.client, method, path.format(known=known, cold=cold), json=body
        )
        costs.append((method, path, len(statements)))
    table = "\n".join(f"{cost:3}  {method:6} {path}" for method, path, cost in costs)
    over = [cost for cost, allowed in zip(costs, BUDGET, strict=True) if cost[2] > allowed[2]]
    assert not over, table


async def test_what_has_not_changed_costs_one_read(
    own_service: Service, people: People, ledger: Ledger
) -> None:
    customer = await people.customer()
    await customer.client.put(f"/customers/me/favorites/{own_service.store.new_product()}")
    path = "/customers/me/favorites"
    tag = (await customer.client.get(path)).headers["ETag"]
    with_tag = {"If-None-Match": tag}
    assert (await customer.client.get(path, headers=with_tag)).status_code == 304
    statements = await ledger.statements(
        customer.client, "GET", path, expected=304, headers=with_tag
    )
    # It validates the session, too.
    assert len(statements) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/customers/me/favorites"),
        ("GET", "/customers/me/favorites?sort=price&category=tests&q=product"),
        ("GET", "/customers/me/favorites/changes"),
        ("GET", "/customers/me/favorites/{known}"),
        ("GET", "/customers/me/profile"),
        ("DELETE", "/customers/me/favorites/{new}"),
        ("GET", "/customers/me/favorites/contains?product_ids=1,2,3"),
        ("PUT", "/customers/me/favorites/{new}"),
        ("PUT", "/customers/me/favorites/{known}"),
        ("GET", "/products/{known}"),
    ],
)
async def test_the_most_frequent_requests_cost_one_statement(
    own_service: Service, people: People, ledger: Ledger, method: str, path: str
) -> None:
    customer = await people.customer()
    # Like a client that is no browser: it sends no site.
    client = await people.client()
    known = own_service.store.new_product()
    await customer.client.put(f"/customers/me/favorites/{known}")
    costs = []
    # A new connection reads types once, and a process reads products once.
    for _ in range(4):
        new = own_service.store.new_product()
        for each in (known, new):
            # The first request stores the product, the second one reads its row.
            for _ in range(2):
                await client.get(f"/products/{each}")
        costs.append(
            await ledger.statements(
                client, method, path.format(known=known, new=new), headers=customer.bearer
            )
        )
    assert min(map(len, costs)) == 1, costs


async def test_internal_systems_cost_no_more(people: People, ledger: Ledger) -> None:
    customer = await people.customer()
    client = await people.client()
    key = people.staff.key(*Scope)
    # A new connection reads types once.
    await client.get("/products?limit=1")
    # The first use within a minute is noted.
    assert len(await ledger.statements(client, "GET", "/customers", headers=key)) <= 3
    assert len(await ledger.statements(client, "GET", "/customers", headers=key)) <= 2
    # A list without favorites is still one statement: it tells whether there is such a customer.
    path = f"/customers/{customer.id}/favorites"
    await client.get(path, headers=key)
    assert len(await ledger.statements(client, "GET", path, headers=key)) <= 2


@pytest.mark.parametrize(
    "path",
    [
        "/customers/me/favorites?limit=100",
        "/customers/me/favorites?limit=100&sort=price",
        "/customers/me/profile?limit=100",
        "/customers/me/export",
        "/products?limit=100",
    ],
)
async def test_a_hundred_favorites_cost_as_many_statements_as_one(
    own_service: Service, people: People, ledger: Ledger, path: str
) -> None:
    one, hundred = await people.customer(), await people.customer()
    products = [own_service.store.add_product(product_id) for product_id in range(5001, 5101)]
    # The catalog's list brings all of them at once.
    own_service.sql("DELETE FROM catalog_state")
    assert (await one.client.get("/products")).status_code == 200
    for customer, favorites in ((one, products[:1]), (hundred, products)):
        for product_id in favorites:
            added = await customer.client.put(f"/customers/me/favorites/{product_id}")
            assert added.status_code == 201, added.text
    for customer in (one, hundred):
        # Each may have reached another process, which has to read the products first.
        await ledger.statements(customer.client, "GET", path)
    cost_of_one = await ledger.statements(one.client, "GET", path)
    cost_of_hundred = await ledger.statements(hundred.client, "GET", path)
    assert cost_of_one == cost_of_hundred
