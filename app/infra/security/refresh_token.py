"""Refresh tokens: random to begin with, then each computed from its predecessor."""

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
    Computes a successor as the HMAC-SHA256 of the token.

    So the same one can be handed out again without being stored in the clear. The keys are
    derived from those that sign access tokens and rotate with them: HKDF-Expand with a label of
    their own (RFC 5869, section 2.3), so that neither use reveals anything about the other.
    """

    def __init__(self, *, keys: SigningKeys) -> None:
        self._keys = [
            hmac.digest(secret, b"favorites refresh token successor v1\x01", "sha256")
            for secret in keys.values()
        ]

    @override
    def first(self) -> str:
        return _text(secrets.token_bytes(TOKEN_BYTES))

    @override
    def successors(self, token: str) -> Sequence[str]:
        return [_text(hmac.digest(key, _bytes(token), "sha256")) for key in self._keys]

    @override
    def hash(self, token: str) -> RefreshTokenHash:
        return RefreshTokenHash(hashlib.sha256(_bytes(token)).digest())


def _text(token: bytes) -> str:
    return urlsafe_b64encode(token).rstrip(b"=").decode("ascii")


def _bytes(token: str) -> bytes:
    # Whatever a client sends is a token that is not known, never an error.
    return token.encode("utf-8", "surrogatepass")
