import logging
from dataclasses import dataclass, field

import pytest
from argon2 import extract_parameters
from typing_extensions import override

from app.domain.customer import Password, PasswordHash
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.executor import HashingExecutor
from app.infra.hashing.password_hasher import ArgonPasswordHasher

CURRENT = Argon2Parameters(memory_kib=64, passes=2)
PASSWORD = Password("correct horse")


class TestArgon2Parameters:
    def test_are_those_of_owasp_unless_given(self) -> None:
        hashed = Argon2Parameters().hash(b"secret")
        assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    def test_use_a_new_salt_for_each_hash(self) -> None:
        assert CURRENT.hash(b"secret") != CURRENT.hash(b"secret")

    @pytest.mark.parametrize(
        "other",
        [
            Argon2Parameters(memory_kib=65, passes=2),
            Argon2Parameters(memory_kib=64, passes=1),
            Argon2Parameters(memory_kib=64, passes=2, lanes=2),
            Argon2Parameters(memory_kib=64, passes=2, salt_bytes=17),
            Argon2Parameters(memory_kib=64, passes=2, tag_bytes=33),
        ],
    )
    def test_recognize_the_hashes_they_produced(self, other: Argon2Parameters) -> None:
        assert CURRENT.produced(CURRENT.hash(b"secret"))
        assert not CURRENT.produced(other.hash(b"secret"))
        assert other.produced(other.hash(b"secret"))

    @pytest.mark.parametrize("variant", ["$argon2i$", "$argon2d$"])
    def test_reject_a_hash_of_another_variant(self, variant: str) -> None:
        foreign = PasswordHash(CURRENT.hash(b"secret").replace("$argon2id$", variant))
        assert not CURRENT.produced(foreign)


class TestArgonPasswordHasher:
    async def test_logs_a_malformed_hash_without_quoting_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with HashingExecutor(threads=1) as executor:
            hasher = ArgonPasswordHasher(executor, parameters=CURRENT)
            with caplog.at_level(logging.ERROR):
                assert not await hasher.verify(PASSWORD, PasswordHash("$argon2id$what is this"))
        assert [record.message for record in caplog.records] == [
            "A stored password hash cannot be read"
        ]
        assert "what is this" not in caplog.text

    async def test_rejects_a_hash_of_another_variant(self) -> None:
        foreign = PasswordHash(CURRENT.hash(b"correct horse").replace("argon2id", "argon2i"))
        async with HashingExecutor(threads=1) as executor:
            hasher = ArgonPasswordHasher(executor, parameters=CURRENT)
            assert not await hasher.verify(PASSWORD, foreign)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredArgon2(Argon2Parameters):
    """Argon2 that records how many KiB it fills: the cost of a hash is memory times passes."""

    filled_kib: list[int] = field(default_factory=list)

    @override
    def hash(self, secret: bytes, *, memory_kib: int | None = None) -> str:
        # Not super(): `slots=True` creates a new class, and super() would refer to the first one.
        hashed = Argon2Parameters.hash(self, secret, memory_kib=memory_kib)
        self._record(hashed)
        return hashed

    @override
    def verify(self, secret: bytes, hashed: str) -> bool:
        matches = Argon2Parameters.verify(self, secret, hashed)
        self._record(hashed)
        return matches

    def _record(self, hashed: str) -> None:
        done = extract_parameters(hashed)
        self.filled_kib.append(done.memory_cost * done.time_cost)


class TestVerification:
    """Each verification fills the same amount of memory, so that timing reveals nothing."""

    @pytest.mark.parametrize(
        "stored",
        [
            CURRENT.hash(b"correct horse"),
            CURRENT.hash(b"battery staple"),
            None,
            "",
            "$argon2id$v=19$m=64,t=2,p=1$malformed",
            "\ud800",
            Argon2Parameters(memory_kib=32, passes=2).hash(b"correct horse"),
            Argon2Parameters(memory_kib=32, passes=2).hash(b"battery staple"),
            Argon2Parameters(memory_kib=64, passes=1).hash(b"battery staple"),
            Argon2Parameters(memory_kib=8, passes=1).hash(b"battery staple"),
            Argon2Parameters(memory_kib=16, passes=8).hash(b"battery staple"),
        ],
        ids=[
            "right",
            "wrong",
            "no hash",
            "empty",
            "malformed",
            "not ASCII",
            "half the memory, right",
            "half the memory, wrong",
            "half the passes",
            "far cheaper",
            "another ratio",
        ],
    )
    def test_costs_one_hash_with_current_parameters(self, stored: str | None) -> None:
        argon2 = MeteredArgon2(memory_kib=64, passes=2)
        argon2.matches(b"correct horse", stored)
        assert sum(argon2.filled_kib) == 64 * 2

    def test_never_fills_more_memory_at_once_than_a_hash(self) -> None:
        argon2 = MeteredArgon2(memory_kib=64, passes=2)
        argon2.matches(
            b"correct horse", Argon2Parameters(memory_kib=8, passes=1).hash(b"battery staple")
        )
        assert max(argon2.filled_kib) <= 64 * 2
