"""Who may do what, as the running service has it: the table is that of the HTTP adapter."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.domain.access import Scope
from tests.http.test_access_matrix import ACTORS, MATRIX, OPERATIONS, Row
from tests.integration.service.people import Customer, People


@dataclass
class World:
    """A customer with a favorite, and another caller who requests it."""

    people: People
    owner: Customer
    session: str

    @classmethod
    async def create(cls, people: People) -> "World":
        owner = await people.customer()
        favorited = await owner.client.put("/customers/me/favorites/5")
        assert favorited.status_code == 201, favorited.text
        [session] = (await owner.client.get("/customers/me/sessions")).json()["items"]
        return cls(people, owner, session["id"])

    async def ask(self, client: httpx2.AsyncClient, operation: str, actor: str) -> httpx2.Response:
        """Make the request of an operation with what an actor shows."""
        method, path = OPERATIONS[operation]
        return await client.request(
            method,
            path.format(id=self.owner.id, product_id=5, session=self.session),
            params={"product_ids": "5"} if operation == "contains_favorites" else None,
            json=self._body(MATRIX[operation]),
            headers=await self._credentials(actor, MATRIX[operation]),
        )

    def _body(self, row: Row) -> dict[str, Any] | None:
        if row.body is None:
            return None
        fresh = {
            "email": f"{uuid4().hex}@example.com",
            "current_password": self.owner.password,
        }
        return {name: fresh.get(name, value) for name, value in row.body.items()}

    async def _credentials(self, actor: str, row: Row) -> dict[str, str]:
        every = frozenset(Scope)
        match actor:
            case "oneself":
                return self.owner.bearer
            case "another":
                return (await self.people.customer()).bearer
            case "admin":
                return (await self.people.admin()).bearer
            case "key with the scope":
                return self.people.staff.key(*(every if row.scope is None else [row.scope]))
            case "key without it":
                return self.people.staff.key(*(every - {row.scope}))
            case _:
                return {}


@pytest.mark.parametrize("actor", ACTORS)
async def test_everybody_gets_what_the_table_says(people: People, actor: str) -> None:
    client = await people.client()
    world = await World.create(people)
    wrong = []
    for operation, row in MATRIX.items():
        answer = await world.ask(client, operation, actor)
        client.cookies.clear()
        expected = row.statuses[ACTORS.index(actor)]
        if answer.status_code != expected:
            wrong.append((operation, expected, answer.status_code, answer.text))
        if answer.is_success and OPERATIONS[operation][0] != "get":
            world = await World.create(people)
    assert wrong == []


async def test_the_table_has_every_operation_of_the_running_service(people: People) -> None:
    document = (await (await people.client()).get("/openapi.json")).json()
    served = {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
    }
    assert served == set(MATRIX)
