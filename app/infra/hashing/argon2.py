"""
Argon2id (RFC 9106), computed in the calling thread.

Response times must not reveal which e-mail addresses have accounts. Each verification therefore
costs as much as one hash with the current parameters: also without an account, for a malformed
hash, and for a hash with cheaper parameters, which is topped up. Only a hash that is more
expensive than the current parameters takes longer, until its owner signs in and it is replaced:
raise the parameters, do not lower them.
"""

import secrets
from dataclasses import dataclass

from argon2 import Parameters, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
from argon2.low_level import ARGON2_VERSION, Type, error_to_str, hash_secret, verify_secret

_EXHAUSTED = {error_to_str(-22), error_to_str(-33)}
"""The library's messages when it cannot allocate memory or start a thread (argon2.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argon2Parameters:
    """
    The cost of a hash; the defaults are those of OWASP's Password Storage Cheat Sheet.

    `lanes` threads fill `memory_kib` of memory `passes` times. Salt and tag are in bytes.
    """

    memory_kib: int = 19 * 1024
    passes: int = 2
    lanes: int = 1
    salt_bytes: int = 16
    tag_bytes: int = 32

    def produced(self, hashed: str) -> bool:
        """Return whether a hash was made with these parameters; False if it is malformed."""
        try:
            return extract_parameters(hashed) == Parameters(
                type=Type.ID,
                version=ARGON2_VERSION,
                salt_len=self.salt_bytes,
                hash_len=self.tag_bytes,
                time_cost=self.passes,
                memory_cost=self.memory_kib,
                parallelism=self.lanes,
            )
        except InvalidHashError:
            return False

    def hash(self, secret: bytes, *, memory_kib: int | None = None) -> str:
        """
        Hash a secret with a new salt, optionally with less memory.

        :raises MemoryError: if the machine lacks memory or threads
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
        Compare a secret with a hash, at the cost of that hash.

        :raises ValueError: if the hash is malformed; this takes no time
        :raises MemoryError: if the machine lacks memory or threads
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
        Compare a secret with a hash, always at the cost of one hash with these parameters.

        Without a hash the result is False, for a malformed one None.
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
        """Do the work that verifying a cheaper hash has saved."""
        done = extract_parameters(hashed)
        saved_kib = self.memory_kib - done.memory_cost * done.time_cost // self.passes
        # Argon2 needs 8 KiB per lane (RFC 9106, section 3.1); less than that is not measurable.
        if saved_kib >= 8 * self.lanes:
            self.hash(secret, memory_kib=saved_kib)


def _raise_if_exhausted(error: Argon2Error) -> None:
    if str(error) in _EXHAUSTED:
        raise MemoryError from error
