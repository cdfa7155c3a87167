"""The pure functions that create `.venv`."""

from pathlib import Path

from development.install import clean_environment, fingerprint, pinned_names


class TestFingerprint:
    def test_changes_with_each_input(self) -> None:
        here = Path("/here")
        stamp = fingerprint(lock=b"lock", python="3.11", place=here)
        assert stamp == fingerprint(lock=b"lock", python="3.11", place=here)
        assert stamp != fingerprint(lock=b"changed", python="3.11", place=here)
        assert stamp != fingerprint(lock=b"lock", python="3.12", place=here)
        assert stamp != fingerprint(lock=b"lock", python="3.11", place=Path("/moved"))


class TestPinnedNames:
    def test_are_normalized(self) -> None:
        text = (
            'typing_Extensions==4.16 ; python_version >= "3.11" \\\n'
            "    --hash=sha256:0 \\\n    --hash=sha256:1\n"
            "# a comment==1\nSQLAlchemy[asyncio]==2.1.9 \\\n    --hash=sha256:2\n"
        )
        assert pinned_names(text) == {"typing-extensions", "sqlalchemy"}


class TestCleanEnvironment:
    def test_keeps_the_index_and_drops_redirecting_variables(self) -> None:
        environment = {"PIP_INDEX_URL": "https://mirror", "PIP_USER": "1", "PYTHONPATH": "/x"}
        assert clean_environment(environment) == {"PIP_INDEX_URL": "https://mirror"}
