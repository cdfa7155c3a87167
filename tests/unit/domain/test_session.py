from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from app.domain.session import (
    DEVICE_MAX,
    RefreshFamily,
    Rotation,
    Session,
    SessionId,
    SessionPolicy,
)
from tests import make
from tests.make import DAY, HOUR, MINUTE, NOW, SECOND

TICK = timedelta(microseconds=1)
POLICY = SessionPolicy(idle=HOUR, absolute=DAY, grace=10 * SECOND)


def begin(device: str = "", policy: SessionPolicy = POLICY) -> Session:
    return Session.begin(
        id=SessionId(make.uuid()),
        customer_id=make.customer_id(),
        device=device,
        policy=policy,
        now=NOW,
    )


class TestSession:
    def test_begins_now_and_ends_by_the_policy(self) -> None:
        session = begin()
        assert (session.created_at, session.last_used_at) == (NOW, NOW)
        assert session.idle_expires_at == NOW + HOUR
        assert session.expires_at == NOW + DAY
        assert session.ended_at is None

    def test_is_never_idle_beyond_its_absolute_expiry(self) -> None:
        session = begin(policy=SessionPolicy(idle=DAY, absolute=HOUR))
        assert session.idle_expires_at == session.expires_at == NOW + HOUR

    def test_gives_access_until_it_has_been_idle_for_too_long(self) -> None:
        session = begin()
        assert session.active(NOW)
        assert session.active(NOW + HOUR - TICK)
        assert not session.active(NOW + HOUR)

    def test_lasts_longer_when_it_is_used(self) -> None:
        session = begin().used(policy=POLICY, now=NOW + 30 * MINUTE)
        assert session.last_used_at == NOW + 30 * MINUTE
        assert session.active(NOW + 90 * MINUTE - TICK)
        assert not session.active(NOW + 90 * MINUTE)

    def test_never_lasts_beyond_its_absolute_expiry(self) -> None:
        session = begin().used(policy=POLICY, now=NOW + DAY - MINUTE)
        assert session.idle_expires_at == NOW + DAY
        assert not session.active(NOW + DAY)

    def test_gives_no_access_once_it_ended(self) -> None:
        session = begin().ended(NOW + MINUTE)
        assert session.ended_at == NOW + MINUTE
        assert not session.active(NOW + MINUTE)

    def test_ends_once(self) -> None:
        session = begin().ended(NOW + MINUTE)
        assert session.ended(NOW + HOUR) is session

    @pytest.mark.parametrize(
        ("device", "kept"),
        [
            ("Firefox 148", "Firefox 148"),
            ("", ""),
            ("a\r\nSet-Cookie: x\x00\ud800\x1b[31m", "aSet-Cookie: x[31m"),
            ("x" * 10_000, "x" * DEVICE_MAX),
            ("\x00" * 300 + "ok", "ok"),
        ],
    )
    def test_keeps_the_printable_characters_of_the_device(self, device: str, kept: str) -> None:
        assert begin(device).device == kept


UNUSED, USED = None, NOW


class TestRefreshFamily:
    @pytest.mark.parametrize(
        ("used_at", "successor_used_at", "after", "rotation"),
        [
            # Not used yet: its time has come, early or late.
            (UNUSED, None, timedelta(0), Rotation.ROTATE),
            (UNUSED, None, HOUR - TICK, Rotation.ROTATE),
            # Used, and its successor not: the answer may have been lost, for ten seconds.
            (USED, UNUSED, timedelta(0), Rotation.REPEAT),
            (USED, UNUSED, 10 * SECOND, Rotation.REPEAT),
            (USED, UNUSED, 10 * SECOND + TICK, Rotation.REUSED),
            # The successor was used: its answer has arrived somewhere.
            (USED, USED, timedelta(0), Rotation.REUSED),
            (USED, USED, 10 * SECOND, Rotation.REUSED),
            # The session does not give access any more.
            (UNUSED, None, HOUR, Rotation.EXPIRED),
            (USED, UNUSED, HOUR, Rotation.EXPIRED),
            (USED, USED, HOUR, Rotation.EXPIRED),
        ],
    )
    def test_decides_how_to_answer_a_token(
        self,
        used_at: datetime | None,
        successor_used_at: datetime | None,
        after: timedelta,
        rotation: Rotation,
    ) -> None:
        family = _family(used_at=used_at, successor_used_at=successor_used_at)
        assert family.rotation(POLICY, now=NOW + after) is rotation

    def test_is_reused_if_the_successor_is_gone(self) -> None:
        family = replace(_family(used_at=NOW), successor=None)
        assert family.rotation(POLICY, now=NOW) is Rotation.REUSED

    def test_is_expired_once_the_session_ended(self) -> None:
        family = _family()
        ended = replace(family, session=family.session.ended(NOW))
        assert ended.rotation(POLICY, now=NOW) is Rotation.EXPIRED

    def test_does_not_show_its_tokens_in_logs(self) -> None:
        token = make.refresh_token(predecessor=make.token_hash())
        assert repr(token.hash) not in repr(token)
        assert repr(token.predecessor) not in repr(token)


def _family(
    *, used_at: datetime | None = None, successor_used_at: datetime | None = None
) -> RefreshFamily:
    session = begin()
    presented = make.refresh_token(session_id=session.id, used_at=used_at)
    successor = make.refresh_token(
        session_id=session.id, predecessor=presented.hash, used_at=successor_used_at
    )
    return RefreshFamily(
        session=session, presented=presented, successor=successor if used_at else None
    )
