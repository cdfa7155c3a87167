"""Refresh tokens: the first of a session is random, each successor is computed."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from typing_extensions import override

from app.application.ports import RefreshTokenSource
from app.domain.session import RefreshTokenHash
from app.infra.security.signing_keys import SigningKeys

TOKEN_BYTES = 32


class HmacRefreshTokenSource(RefreshTokenSource):
    """
    Compute a successor as the HMAC-SHA256 of the token.

    The same successor can therefore be returned again without being stored in plain text. The
    keys are derived from the signing keys and rotate with them.
    """

    def __init__(self, *, keys: SigningKeys) -> None:
        self._keys = keys.derive(b"favorites refresh token successor v1")

    @override
    def first(self) -> str:
        return _encode(secrets.token_bytes(TOKEN_BYTES))

    @override
    def successors(self, token: str) -> Sequence[str]:
        return [_encode(hmac.digest(key, _to_bytes(token), "sha256")) for key in self._keys]

    @override
    def hash(self, token: str) -> RefreshTokenHash:
        return RefreshTokenHash(hashlib.sha256(_to_bytes(token)).digest())


def _encode(token: bytes) -> str:
    return urlsafe_b64encode(token).rstrip(b"=").decode("ascii")


def _to_bytes(token: str) -> bytes:
    # Any text from a client is at worst an unknown token, never an error.
    return token.encode("utf-8", "surrogatepass")
