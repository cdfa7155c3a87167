"""
Passwords hashed with Argon2id (RFC 9106), off the event loop.

Somebody who measures answers must not learn which e-mail addresses have accounts, so each
verification costs the work of one hash by the parameters of today: also for nobody, for a stored
hash that cannot be read, and for one that was made with cheaper parameters, which is topped up.
Only a hash that costs more than today's shows, until its owner signs in and it is made anew: raise
the parameters, do not lower them.
"""

import logging
import secrets
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from argon2 import Parameters, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
from argon2.low_level import ARGON2_VERSION, Type, hash_secret, verify_secret
from typing_extensions import override

from app.application.gateway import PasswordHasher
from app.domain.customer import Password, PasswordHash
from app.infra.security.hashing_executor import HashingExecutor

logger = logging.getLogger(__name__)


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

    def made(self, hashed: PasswordHash) -> bool:
        """Whether a hash was made with these; one that cannot be read was not."""
        try:
            return extract_parameters(hashed) == self._encoded
        except InvalidHashError:
            return False

    def hash(self, secret: bytes, *, memory_kib: int | None = None) -> PasswordHash:
        """Hash a secret with a new salt, with less memory if told so."""
        encoded = hash_secret(
            secret,
            secrets.token_bytes(self.salt_bytes),
            time_cost=self.passes,
            memory_cost=self.memory_kib if memory_kib is None else memory_kib,
            parallelism=self.lanes,
            hash_len=self.tag_bytes,
            type=Type.ID,
        )
        return PasswordHash(encoded.decode("ascii"))

    def verify(self, secret: bytes, hashed: PasswordHash) -> bool:
        """
        Compare a secret with a hash, at the price at which that was made.

        :raises ValueError: if the hash is malformed; that costs nothing
        """
        try:
            return verify_secret(hashed.encode("ascii"), secret, Type.ID)
        except VerifyMismatchError:
            return False
        except Argon2Error as error:
            raise ValueError("The hash is malformed") from error

    def top_up(self, secret: bytes, hashed: PasswordHash) -> None:
        """Do the work that the verification of a cheaper hash has spared."""
        done = extract_parameters(hashed)
        spared_kib = self.memory_kib - done.memory_cost * done.time_cost // self.passes
        # Argon2 needs 8 KiB a lane (RFC 9106, section 3.1); less than that cannot be measured.
        if spared_kib >= 8 * self.lanes:
            self.hash(secret, memory_kib=spared_kib)


class ArgonPasswordHasher(PasswordHasher):
    """
    Hashes with Argon2id in an executor of its own, closed with the hasher.

    Construction hashes once, for tens of milliseconds: do it at start.
    """

    def __init__(
        self,
        *,
        parameters: Argon2Parameters | None = None,
        executor: HashingExecutor | None = None,
    ) -> None:
        self._parameters = Argon2Parameters() if parameters is None else parameters
        self._executor = HashingExecutor() if executor is None else executor
        self._nobody = self._parameters.hash(secrets.token_bytes(32))

    @property
    def queue_depth(self) -> int:
        """How many passwords wait for a thread."""
        return self._executor.queue_depth

    @override
    async def hash(self, password: Password) -> PasswordHash:
        return await self._executor.run(partial(self._parameters.hash, _bytes(password)))

    @override
    async def verify(self, password: Password, hashed: PasswordHash | None) -> bool:
        stored = self._nobody if hashed is None else hashed
        matches = await self._executor.run(partial(self._matches, _bytes(password), stored))
        if matches is None:
            # Here and not in the thread, which knows nothing of the request.
            logger.error("A stored password hash cannot be read")
        return matches is True and hashed is not None

    @override
    def outdated(self, hashed: PasswordHash) -> bool:
        return not self._parameters.made(hashed)

    def _matches(self, secret: bytes, hashed: PasswordHash) -> bool | None:
        """Compare, always at the price of one hash of today; None for a malformed hash."""
        try:
            matches = self._parameters.verify(secret, hashed)
        except ValueError:
            self._parameters.verify(secret, self._nobody)
            return None
        if hashed is not self._nobody:
            self._parameters.top_up(secret, hashed)
        return matches

    async def aclose(self) -> None:
        """Refuse new work, finish what was begun and end the threads."""
        await self._executor.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _bytes(password: Password) -> bytes:
    # A lone surrogate has no UTF-8, but is a character somebody may send: never an error here.
    return password.value.encode("utf-8", "surrogatepass")
