"""The tasks of pyproject.toml, called without an activated environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASK = Path(sys.executable).with_name("task")


@pytest.mark.parametrize("directory", [ROOT, ROOT / "docs"], ids=["root", "below"])
@pytest.mark.parametrize("task", ["bench", "chaos", "lint", "mutate"])
def test_needs_no_activated_environment(task: str, directory: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own tasks
        [TASK, task, *(["--", "--help"] if task != "lint" else [])],
        cwd=directory,
        env={"PATH": os.defpath, "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
