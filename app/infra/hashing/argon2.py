"""
Argon2id (RFC 9106), computed where it is called.

Somebody who measures answers must not learn which e-mail addresses have accounts, so each
verification costs the work of one hash by the parameters of today: also for nobody, for a stored
hash that cannot be read, and for one that was made with cheaper parameters, which is topped up.
Only a hash that costs more than today's shows, until its owner signs in and it is made anew: raise
the parameters, do not lower them.
"""

import secrets
from dataclasses import dataclass

from argon2 import Parameters, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
from argon2.low_level import ARGON2_VERSION, Type, error_to_str, hash_secret, verify_secret

_EXHAUSTED = {error_to_str(-22), error_to_str(-33)}
"""What the library says when there is no memory, or no thread for a lane (argon2.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argon2Parameters:
    """
    What a hash costs; the defaults are those of OWASP's Password Storage Cheat Sheet.

    `memory_kib` is filled `passes` times by `lanes` in parallel; salt and tag are in bytes.
    """

    memory_kib: int = 19 * 1024
    passes: int = 2
    lanes: int = 1
    salt_bytes: int = 16
    tag_bytes: int = 32

    @property
    def _encoded(self) -> Parameters:
        return Parameters(
            type=Type.ID,
            version=ARGON2_VERSION,
            salt_len=self.salt_bytes,
            hash_len=self.tag_bytes,
            time_cost=self.passes,
            memory_cost=self.memory_kib,
            parallelism=self.lanes,
        )

    def made(self, hashed: str) -> bool:
        """Whether a hash was made with these; one that cannot be read was not."""
        try:
            return extract_parameters(hashed) == self._encoded
        except InvalidHashError:
            return False

    def hash(self, secret: bytes, *, memory_kib: int | None = None) -> str:
        """
        Hash a secret with a new salt, with less memory if told so.

        :raises MemoryError: if the machine has not enough for it
        """
        try:
            encoded = hash_secret(
                secret,
                secrets.token_bytes(self.salt_bytes),
                time_cost=self.passes,
                memory_cost=self.memory_kib if memory_kib is None else memory_kib,
                parallelism=self.lanes,
                hash_len=self.tag_bytes,
                type=Type.ID,
            )
        except Argon2Error as error:
            _raise_if_exhausted(error)
            raise
        return encoded.decode("ascii")

    def verify(self, secret: bytes, hashed: str) -> bool:
        """
        Compare a secret with a hash, at the price at which that was made.

        :raises ValueError: if the hash is malformed; that costs nothing
        :raises MemoryError: if the machine has not enough for it
        """
        try:
            return verify_secret(hashed.encode("ascii"), secret, Type.ID)
        except VerifyMismatchError:
            return False
        except Argon2Error as error:
            _raise_if_exhausted(error)
            raise ValueError("The hash is malformed") from error

    def matches(self, secret: bytes, hashed: str | None) -> bool | None:
        """
        Compare a secret with a hash or with nobody's, always at the price of one hash of today.

        None for a hash that is malformed.
        """
        if hashed is None:
            self.hash(secret)
            return False
        try:
            matches = self.verify(secret, hashed)
        except ValueError:
            self.hash(secret)
            return None
        self._top_up(secret, hashed)
        return matches

    def _top_up(self, secret: bytes, hashed: str) -> None:
        """Do the work that the verification of a cheaper hash has spared."""
        done = extract_parameters(hashed)
        spared_kib = self.memory_kib - done.memory_cost * done.time_cost // self.passes
        # Argon2 needs 8 KiB a lane (RFC 9106, section 3.1); less than that cannot be measured.
        if spared_kib >= 8 * self.lanes:
            self.hash(secret, memory_kib=spared_kib)


def _raise_if_exhausted(error: Argon2Error) -> None:
    """Tell a machine that has nothing left from a hash that is wrong."""
    if str(error) in _EXHAUSTED:
        raise MemoryError from error
