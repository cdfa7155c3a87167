"""What a report of pip-audit is worth."""

from typing import Any

from development.supply_chain import UNKNOWN, VULNERABLE, verdict

SOUND: dict[str, Any] = {"name": "sound", "version": "1.0", "vulns": []}
FAULTY: dict[str, Any] = {
    "name": "faulty",
    "version": "1.0",
    "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]},
        {"id": "PYSEC-2", "fix_versions": []},
    ],
}
SKIPPED: dict[str, Any] = {"name": "skipped", "skip_reason": "Dependency not found on PyPI"}


def judged(*packages: dict[str, Any]) -> tuple[int, str]:
    """Return the status and everything that is told."""
    status, sentences = verdict({"dependencies": list(packages), "fixes": []})
    return status, "\n".join(sentences)


class TestVerdict:
    def test_is_good_when_nothing_is_known(self) -> None:
        assert judged(SOUND, SOUND) == (0, "Nothing is known against any of 2 packages.")

    def test_names_what_is_known_and_what_repairs_it(self) -> None:
        assert judged(SOUND, FAULTY) == (
            VULNERABLE,
            "faulty 1.0: PYSEC-1, repaired in 1.1, 2.0\nfaulty 1.0: PYSEC-2, open",
        )

    def test_is_no_verdict_about_what_was_not_asked(self) -> None:
        status, told = judged(SOUND, SKIPPED)
        assert status == UNKNOWN
        assert told == "The advisory database could not be asked about 1 of 2 packages (skipped)."

    def test_is_no_verdict_about_nothing(self) -> None:
        assert judged()[0] == UNKNOWN

    def test_prefers_what_is_known(self) -> None:
        status, told = judged(FAULTY, *[SKIPPED] * 4)
        assert status == VULNERABLE
        assert "PYSEC-1" in told
        assert "4 of 5 packages (skipped, skipped, skipped, …)" in told
