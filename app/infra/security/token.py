"""
Access tokens: JSON Web Tokens as in RFC 9068, signed with HMAC-SHA256.

Only tokens in exactly the form that this service issues are accepted: the header is compared
instead of interpreted, and the set of claims, their types and their values are validated here.
PyJWT encodes and signs. Its own validation is not used: it has its own clock, accepts other
headers, and ignores unknown claims.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Any, NamedTuple, assert_never
from uuid import UUID, uuid4

from jwt import PyJWS
from jwt.utils import base64url_decode, base64url_encode
from typing_extensions import override

from app.application.ports import AccessToken, NewId, TokenIssuer
from app.domain.access import ApiKeyId, CustomerPrincipal, Principal, Scope, ServicePrincipal
from app.domain.customer import CustomerId, Role
from app.domain.outcome import InvalidToken
from app.domain.session import SessionId
from app.infra.security.signing_keys import SigningKeys

ALGORITHM = "HS256"
TYPE = "at+jwt"
TOKEN_MAX = 4096
LEEWAY = timedelta(seconds=5)
CACHE_MAX = 16_384
"""Maximum number of verified tokens in memory, half a kilobyte each."""

# Three parts in base64url without padding (RFC 7515, section 3.1), the last one a SHA-256.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_SERVICE = re.compile(r"key:([a-z0-9]{1,32})", re.ASCII)
_COMMON_CLAIMS = frozenset({"iss", "aud", "sub", "jti", "iat", "exp"})
_CUSTOMER_CLAIMS = _COMMON_CLAIMS | {"sid", "role"}
_SERVICE_CLAIMS = _COMMON_CLAIMS | {"scope"}


class _Verified(NamedTuple):
    """The content of a verified token; times are seconds since 1970."""

    principal: Principal
    issued_at: int
    expires_at: int


class JwtTokenIssuer(TokenIssuer):
    """
    Sign and verify tokens of customers (`sub`, `sid`, `role`) and of services (`sub` is
    `key:<id>`, `scope`).

    `service_ttl` is at most `ttl`, which is its default.
    """

    def __init__(
        self,
        *,
        keys: SigningKeys,
        issuer: str,
        audience: str,
        ttl: timedelta = timedelta(minutes=15),
        service_ttl: timedelta | None = None,
        new_id: NewId = uuid4,
    ) -> None:
        """
        Create an issuer.

        :raises ValueError: if a lifetime is less than a second, or that of services is longer than
            that of customers
        """
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._ttl = ttl
        self._service_ttl = ttl if service_ttl is None else service_ttl
        self._new_id = new_id
        self._jws = PyJWS(algorithms=[ALGORITHM], options={"enforce_minimum_key_length": True})
        self._hmac = self._jws.get_algorithm_by_name(ALGORITHM)
        self._cache: dict[bytes, _Verified] = {}
        # Headers in the form in which they are issued need not be parsed.
        self._secrets = {self._sign(b"", id_).partition(".")[0]: keys[id_] for id_ in keys}
        if not timedelta(seconds=1) <= self._service_ttl <= ttl:
            raise ValueError("Tokens live for at least a second, those of services no longer")

    @override
    def issue(self, principal: Principal, *, now: datetime) -> AccessToken:
        match principal:
            case CustomerPrincipal():
                ttl = self._ttl
                claims = {
                    "sub": str(principal.customer_id),
                    "sid": str(principal.session_id),
                    "role": principal.role.value,
                }
            case ServicePrincipal():
                ttl = self._service_ttl
                claims = {
                    "sub": f"key:{principal.key_id}",
                    "scope": " ".join(sorted(principal.scopes)),
                }
            case _:
                assert_never(principal)
        issued_at = int(now.timestamp())
        key_id, _ = self._keys.signer
        payload = {
            "iss": self._issuer,
            "aud": self._audience,
            **claims,
            "jti": str(self._new_id()),
            "iat": issued_at,
            "exp": issued_at + _seconds(ttl),
        }
        value = self._sign(json.dumps(payload, separators=(",", ":")).encode(), key_id)
        return AccessToken(value=value, expires_in=timedelta(seconds=_seconds(ttl)))

    def _sign(self, payload: bytes, key_id: str) -> str:
        headers = {"typ": TYPE, "kid": key_id}
        return self._jws.encode(payload, self._keys[key_id], ALGORITHM, headers=headers)

    @override
    def verify(self, token: str, *, now: datetime) -> Principal:
        # The hash is a tenth of the token's length.
        digest = sha256(token.encode(errors="replace")).digest()
        verified = self._cache.get(digest)
        if verified is None:
            verified = self._verify(token)
            if len(self._cache) >= CACHE_MAX:
                self._cache.clear()
            self._cache[digest] = verified
        # The content of a token never changes; only the time is checked on each use.
        if verified.issued_at > (now + LEEWAY).timestamp():
            raise InvalidToken("The access token was issued in the future")
        if verified.expires_at <= now.timestamp():
            raise InvalidToken("The access token has expired")
        return verified.principal

    def _verify(self, token: str) -> _Verified:
        claims = self._signed_claims(token)
        names = frozenset(claims)
        if names == _CUSTOMER_CLAIMS:
            self._check_common(claims, ttl=self._ttl)
            principal: Principal = CustomerPrincipal(
                customer_id=CustomerId(_uuid(claims["sub"])),
                session_id=SessionId(_uuid(claims["sid"])),
                role=_role(claims["role"]),
            )
        elif names == _SERVICE_CLAIMS:
            self._check_common(claims, ttl=self._service_ttl)
            principal = ServicePrincipal(
                key_id=_key_id(claims["sub"]), scopes=_scopes(claims["scope"])
            )
        else:
            raise InvalidToken("The access token has missing or unknown claims")
        return _Verified(principal, claims["iat"], claims["exp"])

    def _signed_claims(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token with a valid signature."""
        if len(token) > TOKEN_MAX or _COMPACT.fullmatch(token) is None:
            raise InvalidToken("This is not an access token")
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        secret = self._secrets.get(header) or self._keys[self._parse_key_id(header)]
        # Compared in base64, because different last characters can decode to the same bytes.
        expected = base64url_encode(self._hmac.sign(signed.encode(), secret))
        if not compare_digest(expected, signature.encode()):
            raise InvalidToken("The signature of the access token is not valid")
        try:
            claims = json.loads(base64url_decode(payload))
        # ValueError: invalid base64, UTF-8 or JSON, or a number that is too long.
        except (ValueError, RecursionError) as error:
            raise InvalidToken("The access token is malformed") from error
        if not isinstance(claims, dict):
            raise InvalidToken("The access token has missing or unknown claims")
        return claims

    def _parse_key_id(self, encoded: str) -> str:
        """Return the key ID of a header that has our members in another notation."""
        try:
            header = json.loads(base64url_decode(encoded))
            for key_id in self._keys:
                if header == {"alg": ALGORITHM, "typ": TYPE, "kid": key_id}:
                    return key_id
        except (ValueError, RecursionError):
            pass
        raise InvalidToken("The header of the access token is not valid")

    def _check_common(self, claims: Mapping[str, Any], *, ttl: timedelta) -> None:
        if claims["iss"] != self._issuer or claims["aud"] != self._audience:
            raise InvalidToken("The access token has another issuer or audience")
        _uuid(claims["jti"])
        issued_at, expires_at = claims["iat"], claims["exp"]
        # Not isinstance: bool is a subclass of int.
        if type(issued_at) is not int or type(expires_at) is not int:
            raise InvalidToken("The times of the access token are not whole seconds")
        if not 0 < expires_at - issued_at <= _seconds(ttl):
            raise InvalidToken("The lifetime of the access token is not valid")


def _seconds(ttl: timedelta) -> int:
    return int(ttl.total_seconds())


def _uuid(claim: object) -> UUID:
    """Parse an ID in the notation in which it is issued."""
    if isinstance(claim, str) and _UUID.fullmatch(claim) is not None:
        return UUID(claim)
    raise InvalidToken("The access token contains an invalid ID")


def _key_id(claim: object) -> ApiKeyId:
    if isinstance(claim, str) and (match := _SERVICE.fullmatch(claim)) is not None:
        return ApiKeyId(match[1])
    raise InvalidToken("The access token contains an invalid API key ID")


def _role(claim: object) -> Role:
    try:
        if isinstance(claim, str):
            return Role(claim)
    except ValueError:
        pass
    raise InvalidToken("The access token contains an unknown role")


def _scopes(claim: object) -> frozenset[Scope]:
    """Parse scopes separated by single spaces (RFC 6749, section 3.3); none are an empty text."""
    try:
        if isinstance(claim, str):
            return frozenset(Scope(name) for name in claim.split(" ")) if claim else frozenset()
    except ValueError:
        pass
    raise InvalidToken("The access token contains an unknown scope")
