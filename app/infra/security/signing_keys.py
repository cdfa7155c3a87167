"""The secrets that sign access tokens; more than one during a rotation."""

import hmac
import re
from collections.abc import Iterator, Mapping, Sequence

from jwt import InvalidKeyError
from jwt.algorithms import HMACAlgorithm
from typing_extensions import override

SECRET_MIN_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class SigningKeys(Mapping[str, bytes]):
    """
    Secrets by key ID: the first one signs, all verify.

    To rotate without rejecting valid tokens: append the new key on all machines, then move it to
    the front on all machines, and remove the old key when the last token it signed has expired.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """
        Validate the keys.

        :raises ValueError: if there is no key, an ID is not 1 to 64 letters, digits, `.`, `_` or
            `-`, or a secret has fewer than the 32 bytes of RFC 7518, section 3.2, or is a public
            key or a JSON Web Key
        """
        if not keys:
            raise ValueError("At least one signing key is needed")
        for key_id, secret in keys.items():
            if _KEY_ID.fullmatch(key_id) is None:
                raise ValueError("A key ID has 1 to 64 letters, digits, '.', '_' or '-'")
            if len(secret) < SECRET_MIN_BYTES:
                raise ValueError(
                    f"The secret of signing key {key_id} has fewer than {SECRET_MIN_BYTES} bytes"
                )
            try:
                HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
            except InvalidKeyError as error:
                raise ValueError(f"Signing key {key_id} is not a random secret") from error
        self._keys = dict(keys)

    @property
    def signer(self) -> tuple[str, bytes]:
        """The ID and the secret of the key that signs."""
        return next(iter(self._keys.items()))

    def derive(self, label: bytes) -> Sequence[bytes]:
        """
        Derive one key for another purpose from each secret, the signing key's first.

        This is HKDF-Expand (RFC 5869, section 2.3): keys with different labels reveal nothing
        about each other.
        """
        return [hmac.digest(secret, label + b"\x01", "sha256") for secret in self._keys.values()]

    @override
    def __getitem__(self, key_id: str) -> bytes:
        return self._keys[key_id]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    @override
    def __len__(self) -> int:
        return len(self._keys)

    @override
    def __repr__(self) -> str:
        return f"SigningKeys({', '.join(self._keys)})"
