"""Passwords hashed with Argon2id."""

import logging

from typing_extensions import override

from app.application.ports import PasswordHasher
from app.domain.customer import Password, PasswordHash
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.executor import HashingExecutor

logger = logging.getLogger(__name__)


class ArgonPasswordHasher(PasswordHasher):
    """Hash with Argon2id in an executor."""

    def __init__(
        self, executor: HashingExecutor, *, parameters: Argon2Parameters | None = None
    ) -> None:
        self._executor = executor
        self._parameters = Argon2Parameters() if parameters is None else parameters

    @override
    async def hash(self, password: Password) -> PasswordHash:
        return await self._executor.hash(self._parameters, password)

    @override
    async def verify(self, password: Password, hashed: PasswordHash | None) -> bool:
        matches = await self._executor.matches(self._parameters, password, hashed)
        if matches is None:
            # Logged here, where log lines carry the ID of the request.
            logger.error("A stored password hash cannot be read")
        return matches is True

    @override
    def outdated(self, hashed: PasswordHash) -> bool:
        return not self._parameters.produced(hashed)
