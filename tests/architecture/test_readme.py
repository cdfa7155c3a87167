import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from app.command_line.main import app as command_line
from app.infra.http.openapi import operations
from app.settings import Settings
from tests.architecture.meaning import meanings
from tests.double.service import Service
from tests.http.client import build

ROOT = Path(__file__).parents[2]
ENGLISH, PORTUGUESE = ROOT / "README.md", ROOT / "README.pt-BR.md"
READMES = [ENGLISH, PORTUGUESE]
PAGES = [*READMES, *sorted((ROOT / "docs").rglob("*.md"))]
API, FAKE_STORE = "http://localhost:8080", "http://localhost:8081"
TOO_LONG = 24

by_file = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)
by_language = pytest.mark.parametrize("readme", READMES, ids=["english", "portuguese"])


def commands(page: Path) -> list[str]:
    """Return the commands of a page, continued lines joined."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


def calls(page: Path) -> list[tuple[str, str, str]]:
    """Return method, URL and command of each call of curl."""
    found = []
    for command in commands(page):
        words = shlex.split(command)
        if "curl" not in words:
            continue
        method = (
            words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
        )
        found += [(method, word, command) for word in words if re.match("https?://", word)]
    return found


def settings(readme: Path) -> list[tuple[str, str, str]]:
    """Return name, default and meaning of each setting in the table."""
    row = r"^\| `([A-Z_]+)` \| (.+?) \| (.+) \|$"
    return re.findall(row, readme.read_text(encoding="utf-8"), re.MULTILINE)


def defaults(*, empty: str, elsewhere: str) -> list[tuple[str, str]]:
    """Return how the table names each setting and its default; `.env.example` has all in full."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    return [
        (name, empty if not value else f"`{value}`" if len(value) <= TOO_LONG else elsewhere)
        for name, value in re.findall(r"^([A-Z_]+)=(.*)$", example, re.MULTILINE)
    ]


def rows(heading: str) -> list[str]:
    """Return the names in the first column of the table of a section of the operations page."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return sorted(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """Return what the headings of a page can be linked to by."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def matches(path: str, template: str) -> bool:
    """Tell whether a path is one of those that a template of OpenAPI stands for."""
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
    return re.fullmatch(pattern, path) is not None


class TestCommands:
    @by_file
    def test_can_be_pasted_into_any_shell(self, page: Path) -> None:
        # zsh takes a comment that is typed for an argument.
        assert not [command for command in commands(page) if re.search(r"(^|\s)#", command)]


class TestLanguages:
    def test_have_the_same_commands(self) -> None:
        assert commands(ENGLISH) == commands(PORTUGUESE) != []


class TestSettings:
    def test_are_those_of_the_code(self) -> None:
        shown = settings(ENGLISH)
        assert [(name, default) for name, default, _ in shown] == defaults(
            empty="empty", elsewhere="see `.env.example`"
        )
        assert {name.lower(): meaning for name, _, meaning in shown} == meanings()

    def test_are_all_in_portuguese_too(self) -> None:
        shown = settings(PORTUGUESE)
        assert [(name, default) for name, default, _ in shown] == defaults(
            empty="vazio", elsewhere="ver `.env.example`"
        )

    def test_all_have_an_effect(self) -> None:
        readers = [
            ROOT / "app" / "infra" / "dependency.py",
            *(ROOT / "app" / "command_line").glob("*.py"),
        ]
        code = "".join(reader.read_text(encoding="utf-8") for reader in readers)
        # What the environment is decides about other settings, in the settings themselves.
        assert [
            name
            for name in Settings.model_fields
            if name != "environment" and not re.search(rf"settings\.{name}\b", code)
        ] == []


class TestObserving:
    def test_knows_every_event(self) -> None:
        logged = re.compile(r"""(?:logger\.\w+\(\s*|\bEVENT = )"([a-z_]+)\"""")
        sources = (ROOT / "app").rglob("*.py")
        events = {
            event
            for source in sources
            for event in logged.findall(source.read_text(encoding="utf-8"))
        }
        assert rows("Log events") == sorted(events)

    def test_knows_every_metric(self) -> None:
        sources = (ROOT / "app" / "infra" / "observability" / "metrics").glob("*.py")
        named = re.compile(r'"(favorites_[a-z_]+)"')
        metrics = {
            name
            for source in sources
            for name in named.findall(source.read_text(encoding="utf-8"))
        }
        assert rows("Metrics") == sorted(metrics)

    def test_says_what_to_do_about_every_alert(self) -> None:
        operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        _, _, told = operations.partition("\n## Dashboard and alerts\n")
        alerts = ROOT / "development" / "observability" / "alerts.yml"
        names = re.findall(r"- alert: (\w+)", alerts.read_text(encoding="utf-8"))
        assert (
            re.findall(r"^\| `([A-Z][A-Za-z]+)` \| .+ \| .+ \|$", told, re.MULTILINE)
            == names
            != []
        )


class TestCalls:
    @by_language
    def test_are_operations_of_the_api(self, readme: Path) -> None:
        known = {
            (method.upper(), template)
            for template, method, _ in operations(build(Service()).openapi())
        }
        to_us = [(method, url) for method, url, _ in calls(readme) if url.startswith(API)]
        assert len(to_us) >= 10
        for method, url in to_us:
            path = url.removeprefix(API).partition("?")[0]
            assert any(method == verb and matches(path, template) for verb, template in known), (
                f"{method} {url}"
            )

    @by_file
    def test_go_to_this_machine_alone(self, page: Path) -> None:
        assert not [
            command for _, url, command in calls(page) if not url.startswith((API, FAKE_STORE))
        ]


class TestCommandLine:
    @by_language
    def test_is_shown_whole(self, readme: Path) -> None:
        text = readme.read_text(encoding="utf-8")
        shown = set(re.findall(r"^\| `python -m app ([\w-]+)", text, re.MULTILINE))
        group = get_command(command_line)
        assert shown == set(getattr(group, "commands", {}))


class TestTasks:
    @by_language
    def test_are_shown_whole(self, readme: Path) -> None:
        text = readme.read_text(encoding="utf-8")
        (table,) = re.findall(r"^\| (?:task|tarefa) \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
        shown = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE)))
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        assert sorted(shown) == sorted(project["tool"]["taskipy"]["tasks"])


class TestLinks:
    @by_file
    def test_lead_somewhere(self, page: Path) -> None:
        text = re.sub(
            r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        for target in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text):
            if re.match("https?://", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


class TestNamedTests:
    @by_file
    def test_exist(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        for path, names in re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)*)`", text):
            source = (ROOT / path).read_text(encoding="utf-8")
            for name in filter(None, names.split("::")):
                assert re.search(rf"\b(def|class) {name}\b", source), f"{path}{names}"


class TestNamedFiles:
    @by_file
    def test_exist(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"`((?:app|development|docs|tests)/[\w./-]+)`", text)
        assert [path for path in named if not (ROOT / path).exists()] == []


class TestDecisions:
    def test_are_numbered_without_gaps_and_all_listed(self) -> None:
        directory = ROOT / "docs" / "adr"
        records = sorted(directory.glob("[0-9]*.md"))
        assert [int(record.name[:4]) for record in records] == [*range(1, len(records) + 1)]
        index = (directory / "README.md").read_text(encoding="utf-8")
        listed = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \| .+ \|$", index, re.MULTILINE)
        assert listed == [(record.name[:4], record.name) for record in records]
