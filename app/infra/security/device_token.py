"""Proofs that somebody signed in from a device before."""

import hmac
import re
import secrets

from typing_extensions import override

from app.application.ports import DeviceTokens
from app.domain.customer import Email
from app.infra.security.signing_keys import SigningKeys

NAME_BYTES = 16

_TOKEN = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{64})", re.ASCII)


class HmacDeviceTokens(DeviceTokens):
    """
    A random name and its HMAC-SHA256 together with the address; nothing is stored.

    The keys are derived from those that sign access tokens and rotate with them, with a label of
    their own (RFC 5869, section 2.3). A proof from before a rotation is good as long as its key is
    among them.
    """

    def __init__(self, *, keys: SigningKeys) -> None:
        self._keys = [
            hmac.digest(secret, b"favorites known device v1\x01", "sha256")
            for secret in keys.values()
        ]

    @override
    def issue(self, email: Email) -> str:
        name = secrets.token_hex(NAME_BYTES)
        return f"{name}.{_tag(self._keys[0], name, email)}"

    @override
    def recognize(self, token: str, email: Email) -> str | None:
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        name, tag = match.groups()
        known = any(hmac.compare_digest(_tag(key, name, email), tag) for key in self._keys)
        return name if known else None


def _tag(key: bytes, name: str, email: Email) -> str:
    # The name has a fixed length, so that no other pair yields the same text.
    text = (name + email.key).encode("utf-8", "surrogatepass")
    return hmac.digest(key, text, "sha256").hex()
