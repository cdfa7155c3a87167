from dataclasses import dataclass

from typing_extensions import override

from app.domain.job import Job
from app.domain.repository import JobQueue
from tests.double.storage_table import Transaction


@dataclass(frozen=True, slots=True)
class InMemoryJobQueue(JobQueue):
    _transaction: Transaction

    @override
    async def enqueue(self, job: Job) -> None:
        await self._transaction.lock("job", job)
        if job not in self._transaction.tables.jobs:
            self._transaction.tables.jobs[job] = None
