import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from threading import Event

import pytest

from app.application.gateway import PasswordHasher
from app.domain.customer import Password, PasswordHash
from app.domain.outcome import HashingBusy
from app.infra.security.hashing_executor import HashingExecutor
from app.infra.security.password import Argon2Parameters, ArgonPasswordHasher
from tests.double.hasher import PlainHasher

TODAY = Argon2Parameters(memory_kib=64, passes=1)
FORMER = Argon2Parameters(memory_kib=32, passes=1)

RIGHT, WRONG = Password("correct horse"), Password("battery staple")
UNUSUAL = ["", "p" * 10_000, "coração", "\x00\x01", "a\x00b", "😀" * 8, "\ud800 alone"]


@dataclass(frozen=True, kw_only=True)
class Hashers:
    """One with the parameters of today, one with others, and one whose queue is full."""

    today: PasswordHasher
    former: PasswordHasher
    busy: PasswordHasher


@pytest.fixture(params=["plain", "argon"])
async def hashers(request: pytest.FixtureRequest) -> AsyncIterator[Hashers]:
    """Hashers, in plain text and for real: both must keep the same promises."""
    if request.param == "plain":
        yield Hashers(
            today=PlainHasher(), former=PlainHasher(scheme="former"), busy=PlainHasher(busy=True)
        )
        return
    gate = Event()
    full = HashingExecutor(threads=1, queue=0)
    async with (
        ArgonPasswordHasher(parameters=TODAY) as today,
        ArgonPasswordHasher(parameters=FORMER) as former,
        ArgonPasswordHasher(parameters=TODAY, executor=full) as busy,
    ):
        held = asyncio.ensure_future(full.run(gate.wait))
        await asyncio.sleep(0)
        yield Hashers(today=today, former=former, busy=busy)
        gate.set()
        await held


class TestPasswordHasher:
    async def test_recognizes_the_password_it_hashed(self, hashers: Hashers) -> None:
        hashed = await hashers.today.hash(RIGHT)
        assert await hashers.today.verify(RIGHT, hashed) is True

    async def test_refuses_another_password(self, hashers: Hashers) -> None:
        hashed = await hashers.today.hash(RIGHT)
        assert await hashers.today.verify(WRONG, hashed) is False

    async def test_recognizes_nobody(self, hashers: Hashers) -> None:
        assert await hashers.today.verify(RIGHT, None) is False

    @pytest.mark.parametrize("text", UNUSUAL, ids=[ascii(text)[:16] for text in UNUSUAL])
    async def test_takes_any_characters(self, hashers: Hashers, text: str) -> None:
        hashed = await hashers.today.hash(Password(text))
        assert await hashers.today.verify(Password(text), hashed) is True
        assert await hashers.today.verify(Password(text + "x"), hashed) is False

    async def test_recognizes_another_composition_of_the_same_letters(
        self, hashers: Hashers
    ) -> None:
        hashed = await hashers.today.hash(Password("cora\u00e7\u00e3o"))
        assert await hashers.today.verify(Password("corac\u0327a\u0303o"), hashed) is True

    @pytest.mark.parametrize(
        "malformed",
        ["", "$", "secret", "$argon2id$", "$argon2id$v=19$m=64,t=1,p=1$AAAA$", "ção", "\ud800"],
        ids=ascii,
    )
    async def test_refuses_every_password_for_a_malformed_hash(
        self, hashers: Hashers, malformed: str
    ) -> None:
        assert await hashers.today.verify(RIGHT, PasswordHash(malformed)) is False

    async def test_does_not_call_its_own_hash_outdated(self, hashers: Hashers) -> None:
        assert hashers.today.outdated(await hashers.today.hash(RIGHT)) is False

    async def test_calls_a_hash_with_other_parameters_outdated(self, hashers: Hashers) -> None:
        assert hashers.today.outdated(await hashers.former.hash(RIGHT)) is True

    async def test_still_verifies_an_outdated_hash(self, hashers: Hashers) -> None:
        hashed = await hashers.former.hash(RIGHT)
        assert await hashers.today.verify(RIGHT, hashed) is True
        assert await hashers.today.verify(WRONG, hashed) is False

    async def test_calls_a_malformed_hash_outdated(self, hashers: Hashers) -> None:
        assert hashers.today.outdated(PasswordHash("secret")) is True

    @pytest.mark.parametrize(
        "call",
        [
            lambda hasher: hasher.hash(RIGHT),
            lambda hasher: hasher.verify(RIGHT, PasswordHash("any")),
            lambda hasher: hasher.verify(RIGHT, None),
        ],
        ids=["hash", "verify", "verify nobody"],
    )
    async def test_refuses_when_too_many_wait(
        self, hashers: Hashers, call: Callable[[PasswordHasher], Awaitable[object]]
    ) -> None:
        with pytest.raises(HashingBusy) as refusal:
            await call(hashers.busy)
        assert refusal.value.retry_after.total_seconds() == 1
