from datetime import timedelta

import pytest

from app.application.ports import TokenIssuer
from app.domain.access import ApiKeyId, CustomerPrincipal, Principal, Scope, ServicePrincipal
from app.domain.customer import Role
from app.domain.outcome import InvalidToken
from app.domain.session import SessionId
from app.infra.security.signing_keys import SigningKeys
from app.infra.security.token import JwtTokenIssuer
from tests import make

SECOND = timedelta(seconds=1)


@pytest.fixture
def issuer() -> TokenIssuer:
    """The real issuer: it has no dependencies and is fast, so there is no double."""
    keys = SigningKeys({"today": b"t" * 32})
    return JwtTokenIssuer(keys=keys, issuer="https://favorites.test", audience="favorites")


def _customer(role: Role) -> Principal:
    return CustomerPrincipal(
        customer_id=make.customer_id(), session_id=SessionId(make.uuid()), role=role
    )


def _service(*scopes: Scope) -> Principal:
    return ServicePrincipal(key_id=ApiKeyId("0a1b2c"), scopes=frozenset(scopes))


PRINCIPALS = [
    _customer(Role.CUSTOMER),
    _customer(Role.ADMIN),
    _service(),
    _service(Scope.FAVORITES_READ),
    _service(*Scope),
]


@pytest.mark.parametrize(
    "principal", PRINCIPALS, ids=["customer", "admin", "no scope", "one scope", "all scopes"]
)
class TestTokenIssuer:
    def test_returns_the_principal_of_a_token(
        self, issuer: TokenIssuer, principal: Principal
    ) -> None:
        token = issuer.issue(principal, now=make.NOW)
        assert issuer.verify(token.value, now=make.NOW) == principal

    def test_accepts_a_token_until_it_expires(
        self, issuer: TokenIssuer, principal: Principal
    ) -> None:
        token = issuer.issue(principal, now=make.NOW)
        expiry = make.NOW + token.expires_in
        assert issuer.verify(token.value, now=expiry - SECOND) == principal
        with pytest.raises(InvalidToken):
            issuer.verify(token.value, now=expiry)

    def test_issues_unique_tokens(self, issuer: TokenIssuer, principal: Principal) -> None:
        first, second = (issuer.issue(principal, now=make.NOW) for _ in range(2))
        assert first.value != second.value

    def test_hides_the_token_in_its_repr(self, issuer: TokenIssuer, principal: Principal) -> None:
        token = issuer.issue(principal, now=make.NOW)
        assert token.value not in repr(token)
