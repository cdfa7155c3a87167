"""Nothing personal is left behind, neither in tables nor in the log."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from app.domain.access import Scope
from tests.integration.service.harness import API_KEY_HEADER, Service, log_lines
from tests.integration.service.people import Customer, People


def _rows(service: Service) -> Iterator[tuple[str, str]]:
    """Yield every row of every table as text, with the name of its table."""
    with psycopg.connect(service.database_url) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        ).fetchall()
        assert len(tables) > 10
        for (table,) in tables:
            rows = connection.execute(
                sql.SQL("SELECT to_jsonb(t)::text FROM {} AS t").format(sql.Identifier(table))
            )
            for (row,) in rows:
                yield table, row


async def _use_everything(service: Service, people: People) -> Customer:
    """Leave a trace wherever a customer can leave one."""
    name = f"Zuleika {uuid4().hex}"
    customer = await people.customer(name=name)
    client, store = customer.client, service.store
    credentials = {"email": customer.email, "password": customer.password}
    device = f"device-{uuid4().hex}"
    steps: list[tuple[str, str, dict[str, Any], int]] = [
        ("POST", "/auth/sign-in", {"json": credentials, "headers": {"User-Agent": device}}, 200),
        ("POST", "/auth/sign-in", {"json": {**credentials, "password": "a wrong one"}}, 401),
        ("POST", "/auth/sign-up", {"json": {**credentials, "name": name}}, 409),
        ("POST", "/auth/refresh", {}, 200),
        ("PATCH", "/customers/me", {"json": {"name": f"{name} Silva"}}, 200),
        ("PUT", "/customers/me/favorites/5", {}, 201),
        ("GET", "/customers/me/favorites", {}, 200),
        ("GET", "/customers/me/export", {}, 200),
    ]
    for method, path, sent, status in steps:
        answer = await client.request(method, path, **sent)
        assert answer.status_code == status, answer.text
    pending = store.new_product()
    store.misbehave(status=503)
    assert (await client.put(f"/customers/me/favorites/{pending}")).status_code == 202
    return customer


async def test_deletion_leaves_nothing_personal_in_any_table(
    service: Service, people: People
) -> None:
    customer = await _use_everything(service, people)
    personal = [customer.id, customer.email, customer.email.partition("@")[0], customer.name]
    before = [table for table, row in _rows(service) if any(each in row for each in personal)]
    assert {"customers", "sessions", "favorites"} <= set(before)

    assert (await customer.client.delete("/customers/me")).status_code == 204

    left = [(table, row) for table, row in _rows(service) if any(each in row for each in personal)]
    assert left == []
    # Nor under a hash: what belonged to the account is gone with it.
    orphans = service.sql(
        "SELECT count(*) FROM refresh_tokens WHERE session_id NOT IN (SELECT id FROM sessions)"
    )
    assert orphans == [(0,)]
    assert service.sql("SELECT 1 FROM customers WHERE id = %s", customer.id) == []


async def test_the_log_holds_no_password_token_key_or_address(
    service: Service, people: People
) -> None:
    customer = await _use_everything(service, people)
    key = people.staff.key(*Scope)
    client = await people.client()
    typo = f"{uuid4().hex} is my password"
    strange = f"strange-{uuid4().hex}"
    for sent in [
        # Secrets in the wrong places.
        client.post("/auth/sign-up", json={"name": typo, "email": typo, "password": typo}),
        client.post("/auth/sign-in", json={"email": customer.email, "passwort": typo}),
        client.post("/auth/sign-in", content=json.dumps({"password": typo}) + "}"),
        client.get(f"/customers?email={customer.email}", headers=key),
        client.get(f"/customers?password={typo}", headers=key),
        client.get(f"/nothing/{typo}/{customer.email}"),
        client.get("/customers/me", headers={"Authorization": f"Bearer {typo}"}),
        client.get("/customers/me", headers={"Authorization": f"Basic {strange}"}),
        client.get("/customers", headers={API_KEY_HEADER: f"aiq_x_{strange}"}),
        client.post("/auth/refresh", json={"refresh_token": strange}),
        client.post("/auth/token", headers=key),
        client.get("/customers/me", headers={"Cookie": f"access_token={strange}; session=a"}),
    ]:
        answer = await sent
        assert answer.status_code < 500, answer.text
        body = answer.text
        assert typo not in body
        assert strange not in body
    admin = await people.admin()
    assert (await admin.client.get(f"/customers/{customer.id}")).status_code == 200

    said = service.host.said()
    secrets = [
        customer.email,
        customer.password,
        customer.name,
        customer.token,
        customer.token.rpartition(".")[2],
        customer.refresh_token,
        people.staff.admin_email,
        people.staff.admin_password,
        *people.staff.keys.values(),
        typo,
        strange,
    ]
    # As it was written, and as JSON writes it.
    told = [each for each in secrets if each in said or json.dumps(each)[1:-1] in said]
    assert told == []
    assert "@example.com" not in said
    events = {line["event"] for line in log_lines(said)}
    assert {"http_request", "admin_action"} <= events
