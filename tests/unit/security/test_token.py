import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.access import (
    ApiKeyId,
    CustomerPrincipal,
    Principal,
    Scope,
    ServicePrincipal,
)
from app.domain.customer import CustomerId, Role
from app.domain.outcome import InvalidToken
from app.domain.session import SessionId
from app.infra.security.signing_keys import SigningKeys
from app.infra.security.token import TOKEN_MAX, JwtTokenIssuer
from tests import make

ISSUER, AUDIENCE = "https://favorites.test", "favorites"
NEW, OLD = b"n" * 32, b"o" * 32
TTL = timedelta(minutes=15)
NOW = int(make.NOW.timestamp())

CUSTOMER_ID = CustomerId(UUID("0198a8f2-5f0e-4c1b-8f67-3a9d1c2b4e5f"))
SESSION_ID = SessionId(UUID("7b3d6c1e-9a42-4f80-b5d4-e61f0a2c8d97"))
CUSTOMER = CustomerPrincipal(customer_id=CUSTOMER_ID, session_id=SESSION_ID, role=Role.CUSTOMER)
SERVICE = ServicePrincipal(
    key_id=ApiKeyId("0a1b2c"), scopes=frozenset({Scope.FAVORITES_READ, Scope.CUSTOMERS_READ})
)

HEADER: Mapping[str, Any] = {"alg": "HS256", "typ": "at+jwt", "kid": "new"}
CLAIMS: Mapping[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": str(CUSTOMER_ID),
    "sid": str(SESSION_ID),
    "jti": "c4a1f7d2-36be-4d09-9e58-02b7c6d5a813",
    "iat": NOW,
    "exp": NOW + 900,
    "role": "customer",
}
SERVICE_CLAIMS: Mapping[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "key:0a1b2c",
    "jti": "c4a1f7d2-36be-4d09-9e58-02b7c6d5a813",
    "iat": NOW,
    "exp": NOW + 900,
    "scope": "customers:read favorites:read",
}


def _issuer(
    keys: Mapping[str, bytes] | None = None,
    *,
    ttl: timedelta = TTL,
    service_ttl: timedelta | None = None,
    issuer: str = ISSUER,
    audience: str = AUDIENCE,
) -> JwtTokenIssuer:
    return JwtTokenIssuer(
        keys=SigningKeys({"new": NEW, "old": OLD} if keys is None else keys),
        issuer=issuer,
        audience=audience,
        ttl=ttl,
        service_ttl=service_ttl,
    )


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _sign(header: bytes, payload: bytes, *, secret: bytes = NEW, digest: str = "sha256") -> str:
    """Sign any header and payload, like an attacker who has the key."""
    signed = f"{_base64url(header)}.{_base64url(payload)}"
    return f"{signed}.{_base64url(hmac.digest(secret, signed.encode(), digest))}"


def _token(
    header: Mapping[str, Any] = HEADER,
    claims: object = CLAIMS,
    *,
    secret: bytes = NEW,
    digest: str = "sha256",
) -> str:
    return _sign(
        json.dumps(header).encode(), json.dumps(claims).encode(), secret=secret, digest=digest
    )


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = (
        urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")
    )
    return json.loads(header), json.loads(payload)


def _without(claims: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if name not in names}


def _assert_rejected(token: str) -> None:
    with pytest.raises(InvalidToken):
        _issuer().verify(token, now=make.NOW)


class TestIssuedToken:
    def test_follows_rfc_9068_for_a_customer(self) -> None:
        header, claims = _read(_issuer().issue(CUSTOMER, now=make.NOW).value)
        assert header == HEADER
        assert _without(claims, "jti") == _without(CLAIMS, "jti")

    def test_follows_rfc_9068_for_a_service(self) -> None:
        header, claims = _read(_issuer().issue(SERVICE, now=make.NOW).value)
        assert header == HEADER
        assert _without(claims, "jti") == _without(SERVICE_CLAIMS, "jti")

    def test_has_its_lifetime(self) -> None:
        issuer = _issuer(ttl=timedelta(minutes=5), service_ttl=timedelta(minutes=1))
        assert issuer.issue(CUSTOMER, now=make.NOW).expires_in == timedelta(minutes=5)
        assert issuer.issue(SERVICE, now=make.NOW).expires_in == timedelta(minutes=1)

    def test_expires_on_a_whole_second_and_not_after_its_lifetime(self) -> None:
        now = make.NOW + timedelta(milliseconds=999)
        issuer = _issuer()
        token = issuer.issue(CUSTOMER, now=now)
        with pytest.raises(InvalidToken):
            issuer.verify(token.value, now=now + token.expires_in)

    @pytest.mark.parametrize(
        ("ttl", "service_ttl"),
        [(timedelta(0), None), (TTL, TTL + timedelta(seconds=1)), (TTL, timedelta(0))],
    )
    def test_requires_a_valid_lifetime(
        self, ttl: timedelta, service_ttl: timedelta | None
    ) -> None:
        with pytest.raises(ValueError, match="live"):
            _issuer(ttl=ttl, service_ttl=service_ttl)


class TestSignature:
    """The baseline of all rejections below: the unchanged token is accepted."""

    @pytest.mark.parametrize("kid_secret", [("new", NEW), ("old", OLD)], ids=["new", "old"])
    def test_of_each_key_is_accepted(self, kid_secret: tuple[str, bytes]) -> None:
        kid, secret = kid_secret
        token = _token({**HEADER, "kid": kid}, secret=secret)
        assert _issuer().verify(token, now=make.NOW) == CUSTOMER

    def test_of_a_service_token_is_accepted(self) -> None:
        assert _issuer().verify(_token(claims=SERVICE_CLAIMS), now=make.NOW) == SERVICE

    def test_outlives_a_rotation_but_not_its_key(self) -> None:
        token = _issuer({"old": OLD}).issue(CUSTOMER, now=make.NOW).value
        assert _issuer({"old": OLD, "new": NEW}).verify(token, now=make.NOW) == CUSTOMER
        assert _issuer({"new": NEW, "old": OLD}).verify(token, now=make.NOW) == CUSTOMER
        with pytest.raises(InvalidToken):
            _issuer({"new": NEW}).verify(token, now=make.NOW)

    def test_of_another_key_is_refused(self) -> None:
        _assert_rejected(_token(secret=OLD))
        _assert_rejected(_token(secret=b"x" * 32))
        _assert_rejected(_token(secret=b""))
        _assert_rejected(_token({**HEADER, "kid": "old"}, secret=NEW))

    def test_is_accepted_in_one_encoding_only(self) -> None:
        """Another last character is rejected even if it decodes to the same bytes."""
        token = _token()
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        for character in alphabet.replace(token[-1], ""):
            _assert_rejected(token[:-1] + character)


HEADERS: list[Any] = [
    {**HEADER, "alg": "none"},
    {**HEADER, "alg": "None"},
    {**HEADER, "alg": "hs256"},
    {**HEADER, "alg": "HS512"},
    {**HEADER, "alg": "RS256"},
    {**HEADER, "alg": ""},
    {**HEADER, "alg": None},
    {**HEADER, "alg": ["HS256"]},
    {**HEADER, "alg": {"HS256": 1}},
    _without(HEADER, "alg"),
    {**HEADER, "typ": "JWT"},
    {**HEADER, "typ": "AT+JWT"},
    {**HEADER, "typ": "application/at+jwt"},
    {**HEADER, "typ": None},
    {**HEADER, "typ": 1},
    _without(HEADER, "typ"),
    {**HEADER, "kid": "unknown"},
    {**HEADER, "kid": "NEW"},
    {**HEADER, "kid": "../../dev/null"},
    {**HEADER, "kid": "new' OR '1'='1"},
    {**HEADER, "kid": "new\u0000"},
    {**HEADER, "kid": "\ud800"},
    {**HEADER, "kid": ""},
    {**HEADER, "kid": None},
    {**HEADER, "kid": 1},
    {**HEADER, "kid": ["new"]},
    {**HEADER, "kid": {}},
    _without(HEADER, "kid"),
    {**HEADER, "jku": "https://attacker.test/keys"},
    {**HEADER, "x5u": "https://attacker.test/cert"},
    {**HEADER, "x5c": ["MIIB"]},
    {**HEADER, "jwk": {"kty": "oct", "k": "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4"}},
    {**HEADER, "cty": "JWT"},
    {**HEADER, "zip": "DEF"},
    {**HEADER, "enc": "A256GCM"},
    {**HEADER, "crit": []},
    {**HEADER, "crit": ["exp"], "exp": 1},
    {**HEADER, "crit": ["b64"], "b64": False},
    {**HEADER, "b64": False},
    {**HEADER, "b64": True},
    {},
    [],
    None,
    "HS256",
    [HEADER],
]


class TestHeader:
    @pytest.mark.parametrize("header", HEADERS, ids=ascii)
    def test_other_than_ours_is_refused(self, header: Any) -> None:
        _assert_rejected(_token(header))

    @pytest.mark.parametrize(("algorithm", "digest"), [("HS384", "sha384"), ("HS512", "sha512")])
    def test_of_another_algorithm_is_refused_although_signed_by_it(
        self, algorithm: str, digest: str
    ) -> None:
        _assert_rejected(_token({**HEADER, "alg": algorithm}, digest=digest))

    def test_of_an_unsigned_token_is_refused(self) -> None:
        unsigned = _token({**HEADER, "alg": "none"}).rpartition(".")[0]
        _assert_rejected(unsigned)
        _assert_rejected(unsigned + ".")

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"NaN",
            b"9" * 2000,
            b"[" * 2000,
            b'{"alg":' * 250,
            b'{"alg":"none","typ":"at+jwt","kid":"new"} {"alg":"HS256"}',
        ],
        ids=lambda header: ascii(header[:16]),
    )
    def test_that_is_not_a_json_object_is_refused(self, header: bytes) -> None:
        _assert_rejected(_sign(header, json.dumps(CLAIMS).encode()))


NO_UUIDS: list[Any] = [
    None,
    "",
    "me",
    1,
    True,
    [],
    {},
    1.5,
    [str(CUSTOMER_ID)],
    str(CUSTOMER_ID).replace("-", ""),
    f"{{{CUSTOMER_ID}}}",
    f"urn:uuid:{CUSTOMER_ID}",
    f" {CUSTOMER_ID}",
    f"{CUSTOMER_ID}\n",
    f"{CUSTOMER_ID}\x00",
    str(CUSTOMER_ID)[:-1] + "٣",
    "A" + str(CUSTOMER_ID)[1:],
    "\ud800",
    "x" * 500,
]
NO_TIMES: list[Any] = [
    None,
    True,
    False,
    "",
    str(NOW),
    float(NOW),
    NOW + 0.5,
    1e300,
    float("nan"),
    float("inf"),
    float("-inf"),
    [NOW],
    {"value": NOW},
    0,
    -1,
    -NOW,
    10**30,
    -(10**30),
    10**1000,
]
NO_ISSUERS: list[Any] = [ISSUER + "/", ISSUER.upper(), [ISSUER]]
NO_AUDIENCES: list[Any] = ["other", [AUDIENCE], [AUDIENCE, "other"]]
NO_ROLES: list[Any] = ["root", "ADMIN", "admin ", ["admin"]]
NO_TEXTS: list[Any] = [None, 1, True, [], {}, "", "\x00", "\ud800"]
WRONG: list[tuple[str, Any]] = [
    *(("iss", value) for value in NO_TEXTS + NO_ISSUERS),
    *(("aud", value) for value in NO_TEXTS + NO_AUDIENCES),
    *((name, value) for name in ("sub", "sid", "jti") for value in NO_UUIDS),
    *((name, value) for name in ("iat", "exp") for value in NO_TIMES),
    *(("role", value) for value in NO_TEXTS + NO_ROLES),
    ("sub", "key:0a1b2c"),
    ("nbf", NOW + 10),
    ("scope", "customers:write"),
    ("cnf", {}),
]
NO_SERVICES: list[Any] = [
    "key:",
    "key",
    "key:A",
    "key:a_b",
    "key:a\n",
    "key:é",
    "key:" + "a" * 33,
    "KEY:a",
    str(CUSTOMER_ID),
]
NO_SCOPES: list[Any] = [
    None,
    1,
    True,
    {},
    [],
    ["favorites:read"],
    " ",
    "admin",
    "favorites:read ",
    " favorites:read",
    "favorites:read  customers:read",
    "favorites:read,customers:read",
    "favorites:read\tcustomers:read",
    "FAVORITES:READ",
    "favorites:*",
    "\ud800",
]
WRONG_SERVICE: list[tuple[str, Any]] = [
    *(("sub", value) for value in NO_TEXTS + NO_SERVICES),
    *(("scope", value) for value in NO_SCOPES),
    ("sid", str(SESSION_ID)),
    ("role", "admin"),
]


class TestClaims:
    @pytest.mark.parametrize("name", list(CLAIMS))
    def test_that_miss_one_are_refused(self, name: str) -> None:
        _assert_rejected(_token(claims=_without(CLAIMS, name)))

    @pytest.mark.parametrize("name", list(SERVICE_CLAIMS))
    def test_of_a_service_that_miss_one_are_refused(self, name: str) -> None:
        _assert_rejected(_token(claims=_without(SERVICE_CLAIMS, name)))

    @pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: ascii(value)[:24])
    def test_with_a_wrong_one_are_refused(self, name: str, value: Any) -> None:
        _assert_rejected(_token(claims={**CLAIMS, name: value}))

    @pytest.mark.parametrize(("name", "value"), WRONG_SERVICE, ids=lambda value: ascii(value)[:24])
    def test_of_a_service_with_a_wrong_one_are_refused(self, name: str, value: Any) -> None:
        _assert_rejected(_token(claims={**SERVICE_CLAIMS, name: value}))

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b" ",
            b"null",
            b"[]",
            b'"text"',
            b"1",
            b"NaN",
            b"{",
            b"{}",
            b"{'sub': 1}",
            b"\xff\xfe",
            b"\x00",
            b"[" * 2500,
            b'{"a":' * 500,
            b"9" * 2500,
            b'{"exp":' + b"9" * 2500 + b"}",
            json.dumps(CLAIMS).encode() + b"x",
        ],
        ids=lambda payload: ascii(payload[:16]),
    )
    def test_that_are_not_a_json_object_are_refused(self, payload: bytes) -> None:
        _assert_rejected(_sign(json.dumps(HEADER).encode(), payload))

    def test_of_another_issuer_or_audience_are_refused(self) -> None:
        for stranger in (_issuer(issuer="https://other.test"), _issuer(audience="other")):
            _assert_rejected(stranger.issue(CUSTOMER, now=make.NOW).value)


class TestLife:
    def test_that_is_too_long_is_refused(self) -> None:
        _assert_rejected(_token(claims={**CLAIMS, "exp": NOW + 901}))
        _assert_rejected(_token(claims={**CLAIMS, "iat": NOW - 1, "exp": NOW + 900}))

    def test_that_is_too_long_for_a_service_is_refused(self) -> None:
        issuer = _issuer(service_ttl=timedelta(minutes=5))
        token = issuer.issue(SERVICE, now=make.NOW).value
        assert issuer.verify(token, now=make.NOW) == SERVICE
        with pytest.raises(InvalidToken):
            issuer.verify(_token(claims=SERVICE_CLAIMS), now=make.NOW)

    def test_without_a_duration_is_refused(self) -> None:
        _assert_rejected(_token(claims={**CLAIMS, "iat": NOW, "exp": NOW}))
        _assert_rejected(_token(claims={**CLAIMS, "iat": NOW + 5, "exp": NOW + 4}))

    def test_that_is_over_is_refused_to_the_second(self) -> None:
        token = _token(claims={**CLAIMS, "iat": NOW - 900, "exp": NOW})
        _assert_rejected(token)
        assert _issuer().verify(token, now=make.NOW - timedelta(microseconds=1)) == CUSTOMER

    def test_that_starts_in_the_future_is_refused_beyond_the_leeway(self) -> None:
        soon = _token(claims={**CLAIMS, "iat": NOW + 5, "exp": NOW + 905})
        assert _issuer().verify(soon, now=make.NOW) == CUSTOMER
        _assert_rejected(_token(claims={**CLAIMS, "iat": NOW + 6, "exp": NOW + 906}))

    @pytest.mark.parametrize("year", [1971, 2001, 2999])
    def test_depends_only_on_the_given_time(self, year: int) -> None:
        now = datetime(year, 1, 1, tzinfo=UTC)
        token = _issuer().issue(CUSTOMER, now=now).value
        assert _issuer().verify(token, now=now) == CUSTOMER


class TestText:
    def test_of_a_token_may_not_be_longer_than_4_kib(self) -> None:
        _assert_rejected(_token(claims={**CLAIMS, "pad": "x" * TOKEN_MAX}))
        _assert_rejected("a" * 16_384)
        _assert_rejected("." * 1_000_000)

    @pytest.mark.parametrize(
        "change",
        [
            lambda token: token + "=",
            lambda token: token + "==",
            lambda token: token.replace(".", "=.", 1),
            lambda token: token.replace(".", "=="),
            lambda token: token.replace(".", ".."),
            lambda token: "." + token,
            lambda token: token + ".",
            lambda token: token + "." + token,
            lambda token: token + ".a",
            lambda token: token.replace(".", "-"),
            lambda token: " " + token,
            lambda token: token + " ",
            lambda token: token + "\n",
            lambda token: token + "\x00",
            lambda token: token[:40] + "\x00" + token[40:],
            lambda token: token[:-1],
            lambda token: token + "A",
            lambda token: token.upper(),
            lambda token: token.lower(),
            lambda token: token + "é",
            lambda token: token[:-1] + "\uff21",
            lambda token: token + "\ud800",
            lambda token: "Bearer " + token,
            lambda token: "",
            lambda token: "..",
            lambda token: "a.b.c",
        ],
    )
    def test_that_is_not_a_compact_token_is_refused(self, change: Any) -> None:
        _assert_rejected(change(_token()))

    def test_of_a_refresh_token_is_refused(self) -> None:
        _assert_rejected(_base64url(hashlib.sha256(b"refresh").digest()))


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
PARTS = st.from_regex(r"[A-Za-z0-9_=-]{0,60}(\.[A-Za-z0-9_=-]{0,60}){0,4}", fullmatch=True)


class TestAnything:
    """Any input yields a principal or InvalidToken, never another exception."""

    @given(token=ANY_TEXT | PARTS)
    @settings(deadline=None, max_examples=300)
    def test_without_a_signature_is_refused(self, token: str) -> None:
        _assert_rejected(token)

    @given(data=st.data())
    @settings(deadline=None, max_examples=300)
    def test_that_differs_from_a_token_in_a_few_places_is_refused(
        self, data: st.DataObject
    ) -> None:
        token = _token()
        at = data.draw(st.integers(0, len(token)))
        upto = data.draw(st.integers(at, min(at + 5, len(token))))
        changed = token[:at] + data.draw(ANY_TEXT | PARTS) + token[upto:]
        if changed != token:
            _assert_rejected(changed)

    @given(claims=st.dictionaries(st.sampled_from([*CLAIMS, "scope"]) | ANY_TEXT, ANY_JSON))
    @settings(deadline=None, max_examples=300)
    def test_with_any_claims_is_refused(self, claims: dict[str, Any]) -> None:
        _assert_rejected(_token(claims=claims))

    @given(
        base=st.sampled_from([CLAIMS, SERVICE_CLAIMS]),
        name=st.sampled_from([*CLAIMS, "scope"]),
        value=ANY_JSON,
    )
    @settings(deadline=None, max_examples=300)
    def test_with_one_claim_of_any_value_is_a_principal_or_refused(
        self, base: Mapping[str, Any], name: str, value: Any
    ) -> None:
        token = _token(claims={**base, name: value})
        try:
            principal: Principal = _issuer().verify(token, now=make.NOW)
        except InvalidToken:
            return
        assert isinstance(principal, CustomerPrincipal | ServicePrincipal)

    @given(header=st.dictionaries(st.sampled_from([*HEADER, "crit", "b64"]) | ANY_TEXT, ANY_JSON))
    @settings(deadline=None, max_examples=300)
    def test_with_any_header_is_refused(self, header: dict[str, Any]) -> None:
        _assert_rejected(_token(header))
