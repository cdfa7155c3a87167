"""Evaluation of pip-audit reports."""

from typing import Any

from development.supply_chain import UNKNOWN, VULNERABLE, verdict

CLEAN: dict[str, Any] = {"name": "clean", "version": "1.0", "vulns": []}
VULNERABLE_PACKAGE: dict[str, Any] = {
    "name": "weak",
    "version": "1.0",
    "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]},
        {"id": "PYSEC-2", "fix_versions": []},
    ],
}
SKIPPED: dict[str, Any] = {"name": "skipped", "skip_reason": "Dependency not found on PyPI"}


def judged(*packages: dict[str, Any]) -> tuple[int, str]:
    """Return the status and all messages."""
    status, sentences = verdict({"dependencies": list(packages), "fixes": []})
    return status, "\n".join(sentences)


class TestVerdict:
    def test_succeeds_without_known_vulnerabilities(self) -> None:
        assert judged(CLEAN, CLEAN) == (0, "No known vulnerability in 2 packages.")

    def test_names_vulnerabilities_and_fixed_versions(self) -> None:
        assert judged(CLEAN, VULNERABLE_PACKAGE) == (
            VULNERABLE,
            "weak 1.0: PYSEC-1, fixed in 1.1, 2.0\nweak 1.0: PYSEC-2, not fixed",
        )

    def test_is_unknown_for_skipped_packages(self) -> None:
        status, text = judged(CLEAN, SKIPPED)
        assert status == UNKNOWN
        assert text == "The advisory database could not be queried for 1 of 2 packages (skipped)."

    def test_is_unknown_without_packages(self) -> None:
        assert judged()[0] == UNKNOWN

    def test_reports_vulnerabilities_before_skipped_packages(self) -> None:
        status, text = judged(VULNERABLE_PACKAGE, *[SKIPPED] * 4)
        assert status == VULNERABLE
        assert "PYSEC-1" in text
        assert "4 of 5 packages (skipped, skipped, skipped, …)" in text
