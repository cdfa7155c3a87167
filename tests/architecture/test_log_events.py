"""Every log event that the documentation promises is named in a test."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOGGED = re.compile(r"""(?:logger\.\w+\(\s*|\bEVENT = )"([a-z_]+)\"""")


def logged(directory: str) -> set[str]:
    """Return the events that the modules of a directory log."""
    modules = (ROOT / directory).rglob("*.py")
    return {event for module in modules for event in LOGGED.findall(module.read_text("utf-8"))}


def named(directory: str) -> set[str]:
    """Return the words that are literals in the tests of a directory."""
    tests = [
        test for test in (ROOT / directory).rglob("*.py") if test.parent != Path(__file__).parent
    ]
    return {word for test in tests for word in re.findall(r'"([a-z_]+)"', test.read_text("utf-8"))}


def promised(page: str) -> set[str]:
    """Return the words of a page that are the names of events."""
    words = re.findall(r"`([a-z_]+)`", (ROOT / "docs" / page).read_text("utf-8"))
    return set(words) & (logged("app") | {word for word in words if word in EVENTS})


def _table() -> set[str]:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    section = text.partition("## Log events\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))


EVENTS = _table()


class TestLogEvents:
    def test_are_all_in_a_test(self) -> None:
        assert len(EVENTS) > 50
        assert (EVENTS | logged("app")) - named("tests") == set()

    def test_of_the_core_are_in_a_unit_test(self) -> None:
        assert logged("app/application") - named("tests/unit/application") == set()
