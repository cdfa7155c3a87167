"""Questions of one kind that are asked at the same time, answered together."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from app.domain.outcome import StorageUnavailable
from app.infra.postgres.failure import RETRY_AFTER, storage_failures

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Question(Generic[V]):
    """Who waits for an answer, and until when the first of them does."""

    deadline: float
    answers: list["asyncio.Future[V]"] = field(default_factory=list)


class Batch(Generic[K, V]):
    """
    Collects questions while others are being answered, and asks what has come together at once.

    Nobody waits for company: while there is little to do every question goes alone, and the more
    there is to do the more of them share a statement (as commits do in PostgreSQL). What was asked
    is asked of the database after that, never before: an answer is as new as one of one's own.

    `ask_all` returns an answer for every key; what it raises is raised to all who asked. At most
    `at_once` calls of it are under way, each with at most `most` keys. Nobody waits longer than
    `patience`, however many come before: who has waited that long gets `StorageUnavailable`, and
    so does everybody who shares the call.
    """

    def __init__(
        self,
        ask_all: Callable[[Collection[K]], Awaitable[Mapping[K, V]]],
        *,
        patience: timedelta,
        at_once: int = 2,
        most: int = 100,
    ) -> None:
        self._ask_all = ask_all
        self._patience_s = patience.total_seconds()
        self._at_once = at_once
        self._most = most
        # In the order in which they came.
        self._waiting: dict[K, _Question[V]] = {}
        self._context = copy_context()
        self._expiry: asyncio.TimerHandle | None = None
        self._beginning = False
        # Strong references: the event loop's own are weak.
        self._workers: set[asyncio.Task[None]] = set()

    def ask(self, key: K) -> "asyncio.Future[V]":
        """Ask one question; whoever stops waiting for the answer disturbs nobody."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V] = loop.create_future()
        if not self._waiting:
            self._context = copy_context()
        question = self._waiting.get(key)
        if question is None:
            question = self._waiting[key] = _Question(loop.time() + self._patience_s)
        question.answers.append(answer)
        self._go_on(loop)
        return answer

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that what waits is answered, or given up in time."""
        if self._waiting and not self._begin(loop) and self._expiry is None:
            self._expiry = loop.call_at(self._first.deadline, self._expire, loop)

    @property
    def _first(self) -> _Question[V]:
        return next(iter(self._waiting.values()))

    def _begin(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Begin to answer what waits; tell whether somebody is about to."""
        if self._beginning:
            return True
        if len(self._workers) >= self._at_once:
            return False
        self._beginning = True
        # It begins when everything that has arrived by now has been read; what it does belongs to
        # the request that has waited for it longest.
        worker = loop.create_task(self._work(), name="lookup", context=self._context)
        self._workers.add(worker)
        worker.add_done_callback(self._ended)
        return True

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._expiry = None
        while self._waiting and self._first.deadline <= loop.time():
            for answer in _open([self._waiting.pop(next(iter(self._waiting)))]):
                answer.set_exception(
                    StorageUnavailable("The database takes too long", retry_after=RETRY_AFTER)
                )
        self._go_on(loop)

    def _ended(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled():
            self._go_on(worker.get_loop())

    async def _work(self) -> None:
        self._beginning = False
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        taken = self._take()
        self._go_on(asyncio.get_running_loop())
        if taken:
            await self._answer(taken)

    def _take(self) -> Mapping[K, _Question[V]]:
        if len(self._waiting) <= self._most:
            taken, self._waiting = self._waiting, {}
            return taken
        return {key: self._waiting.pop(key) for key in list(self._waiting)[: self._most]}

    async def _answer(self, asked: Mapping[K, _Question[V]]) -> None:
        deadline = next(iter(asked.values())).deadline
        try:
            with storage_failures():
                async with asyncio.timeout_at(deadline):
                    found = await self._ask_all(asked.keys())
        except BaseException as error:
            for answer in _open(asked.values()):
                if isinstance(error, Exception):
                    answer.set_exception(error)
                else:
                    answer.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for key, question in asked.items():
                value = found[key]
                for answer in question.answers:
                    if not answer.done():
                        answer.set_result(value)

    async def aclose(self) -> None:
        """Give up what is under way."""
        for worker in list(self._workers):
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker


def _open(questions: Iterable[_Question[V]]) -> Iterator["asyncio.Future[V]"]:
    """Yield the answers that somebody still waits for."""
    return (answer for each in questions for answer in each.answers if not answer.done())
