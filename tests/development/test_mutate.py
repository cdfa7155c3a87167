import tomllib
from pathlib import Path
from typing import Any

import pytest

from development.mutate import COPIED, copy_project, main, without_decorators

SOURCE = '''
from abc import abstractmethod
from contextlib import contextmanager
from typing_extensions import override

class Base:
    @property
    @abstractmethod
    def name(self): ...

    @classmethod
    def make(cls):
        return cls()

class Shape(Base):
    @property
    @override
    def name(self):
        """Return the name."""
        if self:
            return "shape"

    @override
    def __str__(self):
        return self.name

    @contextmanager
    def open(self):
        yield self.name

@contextmanager
def whole():
    yield 1
'''


class TestWithoutDecorators:
    def test_keeps_what_a_module_does(self) -> None:
        changed: dict[str, Any] = {}
        exec(without_decorators(SOURCE), changed)  # noqa: S102 - a module of this test
        shape = changed["Shape"].make()
        assert (shape.name, str(shape)) == ("shape", "shape")
        with shape.open() as name, changed["whole"]() as number:
            assert (name, number) == ("shape", 1)

    def test_leaves_only_decorators_that_matter_to_a_mutation(self) -> None:
        lines = [line.strip() for line in without_decorators(SOURCE).splitlines()]
        assert [line for line in lines if line.startswith("@")] == [
            "@property",
            "@abstractmethod",
            "@classmethod",
        ]


class TestCopy:
    def test_mutates_only_the_chosen_modules(self, tmp_path: Path) -> None:
        copy_project(tmp_path, ["app/domain/session.py"])
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(COPIED)
        settings = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))
        assert settings["tool"]["mutmut"]["only_mutate"] == ["app/domain/session.py"]
        assert "pending = property(pending)" in (tmp_path / "app/domain/favorite.py").read_text()


class TestCommand:
    @pytest.mark.parametrize("module", ["app/domain/nothing.py", "app/settings.py", "README.md"])
    def test_refuses_what_is_not_a_module_of_the_core(
        self, module: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            main([module])
        assert ended.value.code == 2
        assert f"{module} is not a module of app/domain or app/application" in (
            capsys.readouterr().err
        )
