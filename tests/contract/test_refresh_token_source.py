import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.application.ports import RefreshTokenSource
from app.infra.security.refresh_token import HmacRefreshTokenSource
from app.infra.security.signing_keys import SigningKeys


def _source(**secrets: bytes) -> RefreshTokenSource:
    """The real source: it has no dependencies and is fast, so there is no double."""
    return HmacRefreshTokenSource(keys=SigningKeys(secrets))


OLD, NEW = b"o" * 32, b"n" * 32
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


class TestRefreshTokenSource:
    def test_generates_opaque_tokens_of_256_bits(self) -> None:
        source = _source(new=NEW)
        for token in (source.first(), *source.successors(source.first())):
            assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)

    def test_starts_each_family_with_a_unique_token(self) -> None:
        source = _source(new=NEW)
        assert len({source.first() for _ in range(100)}) == 100

    def test_computes_the_same_successor_each_time(self) -> None:
        token = _source(new=NEW).first()
        assert _source(new=NEW).successors(token) == _source(new=NEW).successors(token)

    def test_computes_a_family_without_repetition(self) -> None:
        source = _source(new=NEW)
        family = [source.first()]
        for _ in range(100):
            family += source.successors(family[-1])
        assert len(set(family)) == 101

    def test_returns_the_successor_of_the_signing_key_first(self) -> None:
        token = _source(new=NEW).first()
        (by_new,) = _source(new=NEW).successors(token)
        (by_old,) = _source(old=OLD).successors(token)
        assert list(_source(new=NEW, old=OLD).successors(token)) == [by_new, by_old]
        assert list(_source(old=OLD, new=NEW).successors(token)) == [by_old, by_new]
        assert by_new != by_old

    def test_hashes_to_32_bytes_that_do_not_depend_on_the_keys(self) -> None:
        token = _source(new=NEW).first()
        assert _source(new=NEW).hash(token) == _source(old=OLD).hash(token)
        assert len(_source(new=NEW).hash(token)) == 32

    @given(token=ANY_TEXT, other=ANY_TEXT)
    @settings(deadline=None)
    def test_accepts_any_text_and_distinguishes_texts(self, token: str, other: str) -> None:
        source = _source(new=NEW)
        assert (source.hash(token) == source.hash(other)) == (token == other)
        assert (source.successors(token) == source.successors(other)) == (token == other)

    @pytest.mark.parametrize("token", ["", "\x00", "\ud800", "é", "e\u0301", "x" * 100_000])
    def test_accepts_unusual_texts(self, token: str) -> None:
        source = _source(new=NEW)
        assert len(source.hash(token)) == 32
        assert len(source.successors(token)) == 1
