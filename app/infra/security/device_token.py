"""Tokens that identify a device on which a customer has signed in before."""

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
    Issue a random name with the HMAC-SHA256 of name and address; nothing is stored.

    The keys are derived from the signing keys and rotate with them: a token is valid as long as
    the key it was issued with is one of them.
    """

    def __init__(self, *, keys: SigningKeys) -> None:
        self._keys = keys.derive(b"favorites known device v1")

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
        valid = any(hmac.compare_digest(_tag(key, name, email), tag) for key in self._keys)
        return name if valid else None


def _tag(key: bytes, name: str, email: Email) -> str:
    # The name has a fixed length, so the concatenation is unambiguous.
    text = (name + email.key).encode("utf-8", "surrogatepass")
    return hmac.digest(key, text, "sha256").hex()
