"""Passwords hashed with Argon2id, in a process of its own."""

import logging
from types import TracebackType
from typing import Self

from typing_extensions import override

from app.application.ports import PasswordHasher
from app.domain.customer import Password, PasswordHash
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.executor import HashingExecutor

logger = logging.getLogger(__name__)


class ArgonPasswordHasher(PasswordHasher):
    """Hashes with Argon2id by an executor of its own, closed with the hasher."""

    def __init__(
        self,
        *,
        parameters: Argon2Parameters | None = None,
        executor: HashingExecutor | None = None,
    ) -> None:
        self._parameters = Argon2Parameters() if parameters is None else parameters
        self._executor = HashingExecutor() if executor is None else executor

    @property
    def queue_depth(self) -> int:
        """How many passwords wait for their turn."""
        return self._executor.queue_depth

    @override
    async def hash(self, password: Password) -> PasswordHash:
        return await self._executor.hash(self._parameters, password)

    @override
    async def verify(self, password: Password, hashed: PasswordHash | None) -> bool:
        matches = await self._executor.matches(self._parameters, password, hashed)
        if matches is None:
            # Here and not where it was found, which knows nothing of the request.
            logger.error("A stored password hash cannot be read")
        return matches is True

    @override
    def outdated(self, hashed: PasswordHash) -> bool:
        return not self._parameters.made(hashed)

    async def aclose(self) -> None:
        """Refuse new work, finish what was admitted and end the process."""
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
