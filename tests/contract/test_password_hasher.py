import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from app.application.ports import PasswordHasher
from app.domain.customer import Password, PasswordHash
from app.domain.outcome import HashingBusy
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.executor import HashingExecutor
from app.infra.hashing.password_hasher import ArgonPasswordHasher
from tests.double.hasher import PlainHasher
from tests.hashing import held

CURRENT = Argon2Parameters(memory_kib=64, passes=1)
FORMER = Argon2Parameters(memory_kib=32, passes=1)

RIGHT, WRONG = Password("correct horse"), Password("battery staple")
UNUSUAL = [
    "",
    "p" * 10_000,
    "😀" * 10_000,
    "coração",
    "\x00\x01",
    "a\x00b",
    "two\r\nlines\u2028\n",
    '"}\\',
    "\ud800 alone",
]


@dataclass(frozen=True, kw_only=True)
class Hashers:
    """A hasher with the current parameters, and one with other parameters."""

    current: PasswordHasher
    former: PasswordHasher


@pytest.fixture(params=["plain", "argon"])
async def hashers(request: pytest.FixtureRequest) -> AsyncIterator[Hashers]:
    """Run each test with the double and with Argon2: both must keep the same promises."""
    if request.param == "plain":
        yield Hashers(current=PlainHasher(), former=PlainHasher(scheme="former"))
        return
    async with HashingExecutor() as executor:
        yield Hashers(
            current=ArgonPasswordHasher(executor, parameters=CURRENT),
            former=ArgonPasswordHasher(executor, parameters=FORMER),
        )


@pytest.fixture(params=["plain", "argon"])
async def busy(request: pytest.FixtureRequest) -> AsyncIterator[PasswordHasher]:
    """A hasher whose queue is full."""
    if request.param == "plain":
        yield PlainHasher(busy=True)
        return
    async with HashingExecutor(threads=1, queue=0) as executor:
        hasher = ArgonPasswordHasher(executor, parameters=CURRENT)
        async with held(executor):
            running = asyncio.ensure_future(hasher.hash(RIGHT))
            await asyncio.sleep(0)
            yield hasher
        await running


class TestPasswordHasher:
    async def test_accepts_the_right_password(self, hashers: Hashers) -> None:
        hashed = await hashers.current.hash(RIGHT)
        assert await hashers.current.verify(RIGHT, hashed) is True

    async def test_rejects_another_password(self, hashers: Hashers) -> None:
        hashed = await hashers.current.hash(RIGHT)
        assert await hashers.current.verify(WRONG, hashed) is False

    async def test_rejects_every_password_without_a_hash(self, hashers: Hashers) -> None:
        assert await hashers.current.verify(RIGHT, None) is False

    @pytest.mark.parametrize("text", UNUSUAL, ids=[ascii(text)[:16] for text in UNUSUAL])
    async def test_accepts_any_characters(self, hashers: Hashers, text: str) -> None:
        hashed = await hashers.current.hash(Password(text))
        assert await hashers.current.verify(Password(text), hashed) is True
        assert await hashers.current.verify(Password(text + "x"), hashed) is False

    async def test_accepts_another_unicode_normalization(self, hashers: Hashers) -> None:
        hashed = await hashers.current.hash(Password("cora\u00e7\u00e3o"))
        assert await hashers.current.verify(Password("corac\u0327a\u0303o"), hashed) is True

    @pytest.mark.parametrize(
        "malformed",
        ["", "$", "secret", "$argon2id$", "$argon2id$v=19$m=64,t=1,p=1$AAAA$", "ção", "\ud800"],
        ids=ascii,
    )
    async def test_rejects_every_password_for_a_malformed_hash(
        self, hashers: Hashers, malformed: str
    ) -> None:
        assert await hashers.current.verify(RIGHT, PasswordHash(malformed)) is False

    async def test_does_not_report_its_own_hash_as_outdated(self, hashers: Hashers) -> None:
        assert hashers.current.outdated(await hashers.current.hash(RIGHT)) is False

    async def test_reports_a_hash_with_other_parameters_as_outdated(
        self, hashers: Hashers
    ) -> None:
        assert hashers.current.outdated(await hashers.former.hash(RIGHT)) is True

    async def test_still_verifies_an_outdated_hash(self, hashers: Hashers) -> None:
        hashed = await hashers.former.hash(RIGHT)
        assert await hashers.current.verify(RIGHT, hashed) is True
        assert await hashers.current.verify(WRONG, hashed) is False

    async def test_reports_a_malformed_hash_as_outdated(self, hashers: Hashers) -> None:
        assert hashers.current.outdated(PasswordHash("secret")) is True

    @pytest.mark.parametrize(
        "call",
        [
            lambda hasher: hasher.hash(RIGHT),
            lambda hasher: hasher.verify(RIGHT, PasswordHash("any")),
            lambda hasher: hasher.verify(RIGHT, None),
        ],
        ids=["hash", "verify", "verify without a hash"],
    )
    async def test_refuses_if_the_queue_is_full(
        self, busy: PasswordHasher, call: Callable[[PasswordHasher], Awaitable[object]]
    ) -> None:
        with pytest.raises(HashingBusy) as refusal:
            await call(busy)
        assert refusal.value.retry_after.total_seconds() == 1
