"""
Generated requests over the whole OpenAPI document, against the running service.

Nothing may end in a 5xx, an undocumented status, or an answer that breaks its schema; what the
document forbids has to be refused, and what it allows accepted. FUZZ_EXAMPLES is the number of
examples of each operation for each caller.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

from app.domain.access import Scope
from app.infra.http.openapi import operations
from tests.double.service import Service as ServiceOnDoubles
from tests.http.client import build
from tests.integration.service.harness import Service
from tests.integration.service.people import PASSWORD, Staff
from tests.plain_http import NO_TLS

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))

pytestmark = pytest.mark.fuzz


def _session() -> requests.Session:
    session = requests.Session()
    # Generated requests may sign in, which must not give access to the next ones.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


@dataclass
class Caller:
    """A caller with credentials that are renewed when a request has ended them."""

    service: Service
    become: Callable[["Caller"], dict[str, str]]
    session: requests.Session = field(default_factory=_session)
    headers: dict[str, str] = field(default_factory=dict)

    def renew(self) -> None:
        """Show new credentials from now on."""
        self.headers = self.become(self)

    def sign_up(self, *, admin: bool = False) -> dict[str, str]:
        """Become a new customer, or a new administrator."""
        email = f"{uuid4().hex}@example.com"
        with httpx2.Client(base_url=self.service.urls[0], timeout=20, verify=NO_TLS) as client:
            customer = {"name": "Íris", "email": email, "password": PASSWORD}
            client.post("/auth/sign-up", json=customer).raise_for_status()
            if admin:
                self.service.sql("UPDATE customers SET role = 'admin' WHERE email = %s", email)
            del customer["name"]
            signed_in = client.post("/auth/sign-in", json=customer).raise_for_status().json()
            client.put("/customers/me/favorites/5").raise_for_status()
        return {"Authorization": f"Bearer {signed_in['access_token']}"}


def _document() -> schemathesis.BaseSchema:
    document = build(ServiceOnDoubles()).openapi()
    lists = [
        operation["operationId"]
        for _, _, operation in operations(document)
        if {"cursor", "since"} & {p["name"] for p in operation.get("parameters", ())}
    ]
    accepted = ["2xx", "3xx", 401, 403, 404, 409]
    return schemathesis.openapi.from_dict(
        document,
        config=SchemathesisConfig.from_dict(
            {
                # The callers show credentials of their own.
                "generation": {"with-security-parameters": False},
                "checks": {"positive_data_acceptance": {"expected-statuses": accepted}},
                "operations": [
                    {
                        # Cursors are signed: one that is made up has the right form at the most.
                        "include-operation-id": lists,
                        "checks": {
                            "positive_data_acceptance": {"expected-statuses": [*accepted, 400]}
                        },
                    },
                    {
                        # "1 to 100 together, each once" cannot be said in JSON Schema, nor can
                        # what a line of a CSV file holds.
                        "include-operation-id": ["change_favorites", "import_favorites"],
                        "checks": {
                            "positive_data_acceptance": {"expected-statuses": [*accepted, 422]}
                        },
                    },
                ],
            }
        ),
    )


everything = _document()


@pytest.fixture(scope="module")
def caller(request: pytest.FixtureRequest, service: Service, staff: Staff) -> Caller:
    become: dict[str, Callable[[Caller], dict[str, str]]] = {
        "anonymous": lambda _: {},
        "customer": lambda caller: caller.sign_up(),
        "admin": lambda caller: caller.sign_up(admin=True),
        "key": lambda _: staff.key(*Scope),
    }
    caller = Caller(service, become[request.param])
    caller.renew()
    return caller


@pytest.mark.parametrize("caller", ["anonymous", "customer", "admin", "key"], indirect=True)
@everything.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: schemathesis.Case[Any], caller: Caller) -> None:
    response = case.call_and_validate(
        base_url=caller.service.urls[0], session=caller.session, headers=caller.headers
    )
    if caller.headers and response.status_code in {204, 401}:
        caller.renew()
