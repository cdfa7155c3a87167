import asyncio
from dataclasses import dataclass
from datetime import timedelta

from typing_extensions import override

from app.application.ports import PasswordHasher
from app.domain.customer import Password, PasswordHash
from app.domain.outcome import HashingBusy


@dataclass(kw_only=True)
class PlainHasher(PasswordHasher):
    """
    Stores passwords in plain text, so that tests take no time.

    Another `scheme` represents other parameters, `busy` a full queue. With the semaphore `held`,
    each comparison waits until the test releases it.
    """

    scheme: str = "plain"
    busy: bool = False
    held: asyncio.Semaphore | None = None

    @override
    async def hash(self, password: Password) -> PasswordHash:
        self._admit()
        return PasswordHash(f"${self.scheme}${password.value}")

    @override
    async def verify(self, password: Password, hashed: PasswordHash | None) -> bool:
        self._admit()
        if self.held is not None:
            await self.held.acquire()
        return hashed is not None and hashed.split("$", 2)[2:] == [password.value]

    @override
    def outdated(self, hashed: PasswordHash) -> bool:
        return not hashed.startswith(f"${self.scheme}$")

    def _admit(self) -> None:
        if self.busy:
            raise HashingBusy("The queue is full", retry_after=timedelta(seconds=1))
