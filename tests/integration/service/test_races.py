"""The same request many times at once, on two processes."""

import asyncio
from collections import Counter
from uuid import uuid4

import pytest

from tests.integration.service.harness import Service
from tests.integration.service.people import PASSWORD, People

TIMES = 50


class TestSignUp:
    async def test_makes_one_account_of_fifty_identical_requests(
        self, service: Service, people: People
    ) -> None:
        clients = [await people.client(server=server) for server in range(len(service.urls))]
        email = f"{uuid4().hex}@example.com"
        answers = await asyncio.gather(
            *(
                clients[number % len(clients)].post(
                    "/auth/sign-up",
                    # One address, however it is written.
                    json={
                        "name": "Zé",
                        "email": email.upper() if number % 3 else email,
                        "password": PASSWORD,
                    },
                )
                for number in range(TIMES)
            )
        )
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: TIMES - 1}
        assert {a.json()["code"] for a in answers if a.status_code == 409} == {"email_taken"}


class TestFavoriting:
    @pytest.mark.parametrize("method", ["PUT", "POST"])
    async def test_makes_one_favorite_of_fifty_identical_requests(
        self, service: Service, people: People, method: str
    ) -> None:
        customer = await people.customer()
        product_id = service.store.new_product()
        clients = [await people.client(server=server) for server in range(len(service.urls))]
        answers = await asyncio.gather(
            *(
                clients[number % len(clients)].request(
                    method, f"/customers/me/favorites/{product_id}", headers=customer.bearer
                )
                for number in range(TIMES)
            )
        )
        assert Counter(answer.status_code for answer in answers) == {201: 1, 200: TIMES - 1}
        assert len({answer.text for answer in answers}) == 1
        assert service.sql(
            "SELECT count(*) FROM favorites WHERE customer_id = %s", customer.id
        ) == [(1,)]
