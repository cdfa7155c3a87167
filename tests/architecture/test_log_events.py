"""Every log event that the code writes or the documentation promises is named in a test."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOGGED = re.compile(r"""(?:logger\.\w+\(\s*|\bEVENT = )"([a-z_]+)\"""")


def logged(directory: str) -> set[str]:
    """Return the events that the modules of a directory log."""
    modules = (ROOT / directory).rglob("*.py")
    return {event for module in modules for event in LOGGED.findall(module.read_text("utf-8"))}


def listed() -> set[str]:
    """Return the events in the table of the operations page."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    section = text.partition("## Log events\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))


def security_events() -> set[str]:
    """Return the events that the security page names for the requirements of logging (V16.3)."""
    text = (ROOT / "docs" / "security.md").read_text("utf-8")
    rows = re.findall(r"^\| V16\.3\..*?\|.*?\|.*?\|(.*?)\|", text, re.MULTILINE)
    return set(re.findall(r"`([a-z]+_[a-z_]+)`", " ".join(rows)))


def named(directory: str) -> set[str]:
    """Return the words that are literals in the tests of a directory."""
    tests = [
        test for test in (ROOT / directory).rglob("*.py") if test.parent != Path(__file__).parent
    ]
    return {word for test in tests for word in re.findall(r'"([a-z_]+)"', test.read_text("utf-8"))}


class TestLogEvents:
    def test_are_all_named_in_a_test(self) -> None:
        promised = listed() | security_events()
        assert len(promised) > 50
        assert (promised | logged("app")) - named("tests") == set()

    def test_of_the_core_are_named_in_a_unit_test(self) -> None:
        assert logged("app/application") - named("tests/unit/application") == set()

    def test_that_are_evidence_of_security_are_listed(self) -> None:
        assert len(security_events()) > 5
        assert security_events() <= listed()
