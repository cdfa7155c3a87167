"""The secrets that sign tokens, several at a time for rotation."""

import re
from collections.abc import Iterator, Mapping

from jwt import InvalidKeyError
from jwt.algorithms import HMACAlgorithm
from typing_extensions import override

SECRET_MIN_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class SigningKeys(Mapping[str, bytes]):
    """
    Secrets by key id: the first signs, all verify.

    To rotate without refusing anybody: add the new key last, everywhere; then put it first,
    everywhere; and take the old one out when the last token it signed has expired.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """
        Check the keys.

        :raises ValueError: if there is none, an id is not 1 to 64 letters, digits, `.`, `_` or
            `-`, or a secret has less than the 32 bytes of RFC 7518, section 3.2, or is itself a
            public key or a JSON Web Key
        """
        if not keys:
            raise ValueError("At least one signing key is needed")
        for key_id, secret in keys.items():
            if _KEY_ID.fullmatch(key_id) is None:
                raise ValueError("A key id is 1 to 64 letters, digits, '.', '_' or '-'")
            if len(secret) < SECRET_MIN_BYTES:
                raise ValueError(
                    f"The secret of signing key {key_id} has less than {SECRET_MIN_BYTES} bytes"
                )
            try:
                HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
            except InvalidKeyError as error:
                raise ValueError(f"Signing key {key_id} is not a random secret") from error
        self._keys = dict(keys)

    @property
    def signer(self) -> tuple[str, bytes]:
        """The id and the secret that sign now."""
        return next(iter(self._keys.items()))

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
