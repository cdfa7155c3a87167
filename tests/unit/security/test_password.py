import logging
from dataclasses import dataclass, field

import pytest
from argon2 import extract_parameters
from typing_extensions import override

from app.domain.customer import Password, PasswordHash
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.password_hasher import ArgonPasswordHasher

TODAY = Argon2Parameters(memory_kib=64, passes=2)
PASSWORD = Password("correct horse")


class TestArgon2Parameters:
    def test_are_those_of_owasp_unless_given(self) -> None:
        hashed = Argon2Parameters().hash(b"secret")
        assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    def test_salt_each_hash_anew(self) -> None:
        assert TODAY.hash(b"secret") != TODAY.hash(b"secret")

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
    def test_know_which_hashes_they_made(self, other: Argon2Parameters) -> None:
        assert TODAY.made(TODAY.hash(b"secret"))
        assert not TODAY.made(other.hash(b"secret"))
        assert other.made(other.hash(b"secret"))

    @pytest.mark.parametrize("variant", ["$argon2i$", "$argon2d$"])
    def test_made_no_hash_of_another_variant(self, variant: str) -> None:
        foreign = PasswordHash(TODAY.hash(b"secret").replace("$argon2id$", variant))
        assert not TODAY.made(foreign)


class TestArgonPasswordHasher:
    async def test_logs_a_malformed_hash_without_quoting_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with ArgonPasswordHasher(parameters=TODAY) as hasher:
            with caplog.at_level(logging.ERROR):
                assert not await hasher.verify(PASSWORD, PasswordHash("$argon2id$what is this"))
        assert [record.message for record in caplog.records] == [
            "A stored password hash cannot be read"
        ]
        assert "what is this" not in caplog.text

    async def test_refuses_a_hash_of_another_variant(self) -> None:
        foreign = PasswordHash(TODAY.hash(b"correct horse").replace("argon2id", "argon2i"))
        async with ArgonPasswordHasher(parameters=TODAY) as hasher:
            assert not await hasher.verify(PASSWORD, foreign)

    async def test_tells_how_many_wait(self) -> None:
        async with ArgonPasswordHasher(parameters=TODAY) as hasher:
            assert hasher.queue_depth == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredArgon2(Argon2Parameters):
    """Argon2 that notes how many KiB it fills: what a hash costs is memory times passes."""

    filled_kib: list[int] = field(default_factory=list)

    @override
    def hash(self, secret: bytes, *, memory_kib: int | None = None) -> str:
        # Not super(): a class with slots is another one than the one whose body this is.
        hashed = Argon2Parameters.hash(self, secret, memory_kib=memory_kib)
        self._note(hashed)
        return hashed

    @override
    def verify(self, secret: bytes, hashed: str) -> bool:
        matches = Argon2Parameters.verify(self, secret, hashed)
        self._note(hashed)
        return matches

    def _note(self, hashed: str) -> None:
        done = extract_parameters(hashed)
        self.filled_kib.append(done.memory_cost * done.time_cost)


class TestVerification:
    """Whoever measures answers learns nothing: each verification fills as much memory."""

    @pytest.mark.parametrize(
        "stored",
        [
            TODAY.hash(b"correct horse"),
            TODAY.hash(b"battery staple"),
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
            "nobody",
            "empty",
            "malformed",
            "not ASCII",
            "half the memory, right",
            "half the memory, wrong",
            "half the passes",
            "far cheaper",
            "otherwise shaped",
        ],
    )
    def test_costs_one_hash_of_today(self, stored: str | None) -> None:
        argon2 = MeteredArgon2(memory_kib=64, passes=2)
        argon2.matches(b"correct horse", stored)
        assert sum(argon2.filled_kib) == 64 * 2

    def test_never_fills_more_memory_at_once_than_a_hash_of_today(self) -> None:
        argon2 = MeteredArgon2(memory_kib=64, passes=2)
        argon2.matches(
            b"correct horse", Argon2Parameters(memory_kib=8, passes=1).hash(b"battery staple")
        )
        assert max(argon2.filled_kib) <= 64 * 2
