from app.application.recent_reads import RecentReads
from tests import make


class TestRecentReads:
    def test_keep_the_latest_reads(self) -> None:
        recent = RecentReads[str](most=2)
        for read in ("a", "b", "a", "c"):
            recent.note(read, make.NOW)
        since = make.NOW - make.SECOND
        assert [read for read in "abc" if recent.noted_since(read, since)] == ["a", "c"]

    def test_are_compared_with_a_moment(self) -> None:
        recent = RecentReads[str]()
        recent.note("a", make.NOW)
        assert not recent.noted_since("a", make.NOW)
        assert not recent.noted_since("b", make.NOW - make.SECOND)
        recent.note("a", make.NOW + make.SECOND)
        assert recent.noted_since("a", make.NOW)
