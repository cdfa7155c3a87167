import re
from pathlib import Path

import pytest

from app.settings import Settings, load_settings
from tests.architecture.meaning import meanings

ENV_EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Leave a working directory without `.env` and an environment without our settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestEnvExample:
    def test_holds_every_setting_in_order_and_nothing_else(self) -> None:
        names = re.findall(r"^([A-Z_]+)=", ENV_EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
        assert names == [name.upper() for name in Settings.model_fields]

    def test_says_of_each_what_the_code_says(self) -> None:
        paragraphs = ENV_EXAMPLE.read_text(encoding="utf-8").split("\n\n")
        described = {}
        for paragraph in paragraphs:
            *comment, assignment = paragraph.strip().splitlines()
            if not assignment.startswith("#"):
                name = assignment.partition("=")[0].lower()
                described[name] = " ".join(line.removeprefix("# ") for line in comment)
        assert described == meanings()

    def test_holds_the_defaults(self, bare_environment: Path) -> None:
        defaults = load_settings()
        (bare_environment / ".env").write_bytes(ENV_EXAMPLE.read_bytes())
        assert load_settings() == defaults
