"""The tour of the README, by curl, as a stranger would type it."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.domain.access import Scope
from tests.integration.service.harness import API_KEY_HEADER, Service
from tests.integration.service.people import Staff


@dataclass(frozen=True)
class Answer:
    """What curl got."""

    status: int
    head: str
    text: str

    @property
    def body(self) -> Any:
        """The JSON it got."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Curl:
    """curl with a jar for its cookies."""

    base: str
    jar: Path

    def __call__(self, *arguments: str, path: str) -> Answer:
        """Make a request."""
        done = subprocess.run(  # noqa: S603 - our own arguments
            [
                *("curl", "--silent", "--show-error", "--include", "--max-time", "20"),
                *("--cookie", str(self.jar), "--cookie-jar", str(self.jar)),
                *arguments,
                self.base + path,
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        head, _, text = done.stdout.partition("\n\n")
        return Answer(status=int(head.split()[1]), head=head.lower(), text=text)

    def post(self, path: str, body: dict[str, str], *arguments: str) -> Answer:
        """Send JSON."""
        return self(
            *("-H", "Content-Type: application/json", "-d", json.dumps(body, ensure_ascii=False)),
            *arguments,
            path=path,
        )


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("João Ângelo da Conceição", "coração de açaí às 3h"),
        ("Grace Hopper", "nanoseconds on a wire"),
    ],
)
def test_a_stranger_favorites_a_product_and_leaves(
    service: Service, staff: Staff, tmp_path: Path, name: str, password: str
) -> None:
    curl = Curl(service.urls[0], tmp_path / "cookies")
    email = f"{uuid4().hex}@example.com"

    signed_up = curl.post("/auth/sign-up", {"name": name, "email": email, "password": password})
    assert (signed_up.status, signed_up.body["name"]) == (201, name)
    customer_id = signed_up.body["id"]
    assert f"location: /customers/{customer_id}" in signed_up.head

    signed_in = curl.post("/auth/sign-in", {"email": email, "password": password})
    assert signed_in.status == 200
    token = signed_in.body["access_token"]
    assert f"set-cookie: access_token={token.lower()};" in signed_in.head

    key = staff.key(*Scope)[API_KEY_HEADER]
    listed = Curl(service.urls[0], tmp_path / "none")(
        "-H", f"{API_KEY_HEADER}: {key}", path=f"/customers?email={email}"
    )
    assert (listed.status, [each["id"] for each in listed.body["items"]]) == (200, [customer_id])

    favorites = f"/customers/{customer_id}/favorites"
    favorited = curl("-X", "POST", path=f"{favorites}/5")
    assert favorited.status == 201
    assert favorited.body["status"] == "available"
    assert favorited.body["product"]["id"] == 5

    page = curl(path=favorites)
    assert page.status == 200
    [item] = page.body["items"]
    # The copy of the product may have been renewed meanwhile.
    assert {**item, "product": item["product"]["id"]} == {**favorited.body, "product": 5}

    assert curl("-X", "DELETE", path=f"{favorites}/5").status == 204
    assert curl(path=favorites).body == {"items": []}

    signed_out = curl("-X", "POST", path="/auth/sign-out")
    assert signed_out.status == 204
    assert 'set-cookie: access_token=""; httponly; max-age=0;' in signed_out.head
    # Some versions of curl keep a deleted cookie in their jar: it has to be worth nothing.
    assert curl(path=favorites).status == 401
    by_bearer = curl("-H", f"Authorization: Bearer {token}", path=favorites)
    assert (by_bearer.status, by_bearer.body["code"]) == (401, "invalid_token")
