import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil  # type: ignore[import-untyped]  # comes with the wheel of PostgreSQL, has no types
import pytest
from typing_extensions import override

from development.benchmark import load
from development.benchmark.growth import as_table as growth_table
from development.benchmark.growth_plot import draw as draw_growth
from development.benchmark.load import Load, Rate, driver, request
from development.benchmark.noise import Spread, chance, compared
from development.benchmark.report import as_changes, as_table, changes, draw
from development.benchmark.rounds import (
    QUICK,
    Comparison,
    Round,
    Side,
    WrongAnswerError,
    check,
    in_turn,
)
from development.benchmark.run import NAMES, QUICK_NAMES, load_result
from development.benchmark.testbed import Server
from development.page import update_page


def result(*, ratio: float = 0.5, cpu_us: float = 300.0, slower: float = 1.0) -> dict[str, Any]:
    """Return a result of five rounds around these figures, on a machine that may be slower."""
    wobble = [0.99, 1.0, 1.01, 0.98, 1.02]
    return {
        "about": {
            "revision": "abc1234",
            "python": "3.11.7",
            "cores": 2,
            "driver": "wrk",
            "rounds": 5,
            "seconds": 3.0,
        },
        "figures": {
            "list": {
                "title": "List ten favorites",
                "target": 0.75,
                "service": [
                    {
                        "per_s": 1000 / slower * w,
                        "p50_ms": 5.0 * slower,
                        "p99_ms": 9.0 * slower * w,
                        "cpu_us": cpu_us * slower * w,
                    }
                    for w in wobble
                ],
                "limit": [
                    {
                        "per_s": 2000 / slower * w,
                        "p50_ms": 4.0 * slower,
                        "p99_ms": 8.0 * slower,
                        "cpu_us": 200 * slower,
                    }
                    for w in wobble
                ],
                "ratio": [ratio * w for w in wobble],
            },
            "start": {
                "title": "Start",
                "at_most": 1.5,
                "ratio": [1.0, 1.1, 1.2],
                "imports_s": [0.8, 0.9, 1.0],
            },
        },
        "memory_mib": 110.5,
        "hashing_memory_mib": 16.2,
        "answers": {"2xx": 10},
    }


class TestSpread:
    def test_is_the_median_and_the_extremes(self) -> None:
        assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)

    def test_needs_values(self) -> None:
        with pytest.raises(ValueError, match="Nothing"):
            Spread.of([])


class TestChance:
    def test_is_least_for_disjoint_samples(self) -> None:
        assert chance([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)

    def test_is_symmetric(self) -> None:
        one, other = [1.0, 2.0, 6.0, 4.5], [5.0, 3.0, 7.0, 8.0]
        assert chance(one, other) == chance(other, one)

    def test_is_one_for_equal_samples(self) -> None:
        assert chance([1, 2, 3, 4], [1, 2, 3, 4]) == 1
        assert chance([5, 5, 5], [5, 5, 5]) == 1

    def test_cannot_be_small_with_three_rounds(self) -> None:
        assert chance([1, 2, 3], [7, 8, 9]) == pytest.approx(0.1)


class TestChange:
    def test_needs_more_than_one_odd_round(self) -> None:
        change = compared("x", [1.0, 1.01, 1.02, 1.03], [1.0, 1.01, 1.02, 9.0])
        assert not change.beyond_noise

    def test_has_to_be_larger_than_three_percent(self) -> None:
        change = compared("x", [1.0, 1.001, 1.002, 1.003], [1.004, 1.005, 1.006, 1.007])
        assert change.probability < 0.05
        assert not change.beyond_noise

    def test_is_distinguished_from_noise(self) -> None:
        change = compared("x", [1.0, 1.1, 0.9, 1.05], [1.5, 1.6, 1.45, 1.55])
        assert change.beyond_noise
        assert change.factor == pytest.approx(1.525 / 1.025)


class TestComparison:
    def test_names_the_changed_figures(self) -> None:
        before, after = result(ratio=0.5), result(ratio=0.6)
        found = {change.name: change.beyond_noise for change in changes(before, after)}
        assert found == {
            "list ratio": True,
            "list CPU": False,
            "list p99": False,
            "start ratio": False,
        }
        text = as_changes(before, after)
        assert text.count("CHANGED") == 1
        assert "+20.0%" in text

    def test_distinguishes_a_slower_machine_from_costlier_requests(self) -> None:
        changed = [each.name for each in changes(result(), result(slower=2)) if each.beyond_noise]
        assert changed == []
        costlier = changes(result(), result(slower=2, cpu_us=330))
        assert [each.name for each in costlier if each.beyond_noise] == ["list CPU"]

    def test_omits_units_that_the_limit_lacks(self) -> None:
        before, after = result(), result()
        for each in after["figures"]["list"]["limit"]:
            del each["cpu_us"], each["p99_ms"]
        names = [change.name for change in changes(before, after)]
        assert names == ["list ratio", "start ratio"]

    def test_omits_figures_of_one_result_only(self) -> None:
        after = result()
        del after["figures"]["list"]
        assert [change.name for change in changes(result(), after)] == ["start ratio"]


class TestReport:
    def test_is_a_table(self) -> None:
        table = as_table(result())
        assert "| List ten favorites | 1000 | 2000 | **0.50** (0.49 to 0.51) | ≥ 0.75 |" in table
        assert "| Start | **1.10** (1.00 to 1.20) | 1.5 |" in table
        assert "110.5" in table
        assert "16.2" in table

    def test_shows_the_limit_where_it_was_measured(self) -> None:
        measured = result()
        measured["figures"]["half_load"] = {
            "title": "Half load",
            "at_most": 3.0,
            "ratio": [2.0, 2.5, 3.0],
            "ratio_of_limit": [4.0, 4.5, 5.0],
        }
        table = as_table(measured)
        assert "| Half load | **2.50** (2.00 to 3.00) | 3 |" in table
        assert "| … and the same of the limit | **4.50** (4.00 to 5.00) | |" in table

    def test_has_a_table_beside_the_plain_list(self) -> None:
        measured = result()
        assert "plain list" not in as_table(measured)
        page_2 = {**measured["figures"]["list"], "title": "The second ten", "beside": "list"}
        measured["figures"]["page_2"] = {**page_2, "target": 0.5}
        beside_limit, beside_list, _ = as_table(measured).split("\n\n")[1:]
        assert "| List ten favorites |" in beside_limit
        assert "| Beside the plain list, 5 rounds | requests/s | plain list/s |" in beside_list
        row = "| The second ten | 1000 | 2000 | **0.50** (0.49 to 0.51) | ≥ 0.5 |"
        assert row in beside_list
        assert "The second ten" not in beside_limit
        assert "The second ten" not in draw(measured)

    def test_is_a_plot(self) -> None:
        root = ET.fromstring(draw(result()))  # noqa: S314 - our own text
        assert root.tag.endswith("svg")
        texts = [element.text for element in root.iter() if element.tag.endswith("text")]
        assert "List ten favorites" in texts
        assert "50%" in texts

    def test_replaces_only_its_part_of_a_page(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(
            "a\n<!-- benchmark: begin -->\nold\n<!-- benchmark: end -->\n"
            "<!-- growth: begin -->\nkept\n<!-- growth: end -->\nz\n",
            encoding="utf-8",
        )
        update_page(page, r"new \1", part="benchmark")
        assert page.read_text(encoding="utf-8") == (
            "a\n<!-- benchmark: begin -->\nnew \\1\n<!-- benchmark: end -->\n"
            "<!-- growth: begin -->\nkept\n<!-- growth: end -->\nz\n"
        )


POINTS = [
    {
        "what": what,
        "size": size,
        "operation": operation,
        "service": {"per_s": 5000.0, "p50_ms": 5.0, "p99_ms": 9.0, "refused": 0},
        "limit": {"per_s": 6000.0},
    }
    for what, sizes in (("rows", (100_000, 10_000_000)), ("workers", (1, 2)))
    for size in sizes
    for operation in ("list", "add")
]


class TestGrowth:
    def test_is_a_table(self) -> None:
        row = "| rows | 10,000,000 | add | 5000 | 5.0 ms | 9.0 ms | 0 | 6000 |"
        assert row in growth_table(POINTS).splitlines()

    def test_is_a_plot_with_a_point_for_each_measurement(self) -> None:
        root = ET.fromstring(draw_growth(POINTS))  # noqa: S314 - our own text
        circles = [element for element in root.iter() if element.tag.endswith("circle")]
        assert len(circles) == len(POINTS)
        texts = [element.text for element in root.iter() if element.tag.endswith("text")]
        assert {"rows", "workers", "list", "add", "10^7", "2"} <= set(texts)


class TestNames:
    def test_are_unique(self) -> None:
        assert len({*NAMES}) == len(NAMES)

    def test_of_the_quick_run_are_some_of_them(self) -> None:
        assert {*QUICK_NAMES} < {*NAMES}


class TestResult:
    @pytest.mark.parametrize("text", ["[]", "{}", "no JSON"])
    def test_is_distinguished_from_other_text(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"result|Expecting"):
            load_result(text)


class TestRequest:
    def test_is_encoded_as_it_is_sent(self) -> None:
        assert request("PUT", "/x", {"A": "b"}, b"{}") == (
            b"PUT /x HTTP/1.1\r\nHost: localhost\r\nA: b\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )


with_wrk = pytest.mark.skipif(driver() != "wrk", reason="Debian's package wrk is not installed")


class Empty(BaseHTTPRequestHandler):
    """Answers every request with an empty body, over persistent connections."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class TestLoad:
    @pytest.mark.parametrize("made_by", ["asyncio", pytest.param("wrk", marks=with_wrk)])
    @pytest.mark.parametrize("evenly", [False, True])
    def test_pauses(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        port: int,
        made_by: str,
        *,
        evenly: bool,
    ) -> None:
        monkeypatch.setattr(load, "driver", lambda: made_by)
        many = Load(port, [request("GET", "/")], tmp_path, "many")
        measured = many.run(seconds=1, connections=4, at=Rate(per_s=20, evenly=evenly))
        assert (measured.refused, measured.broken) == (0, 0)
        # About twenty; without a pause there are hundreds.
        assert 0 < measured.requests < 60


class TestRounds:
    def test_drive_a_shared_side_once_per_turn(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, port: int
    ) -> None:
        monkeypatch.setattr(load, "driver", lambda: "asyncio")
        driven: list[str] = []

        def side(name: str) -> Side:
            def settle(_: Round) -> None:
                driven.append(name)

            return Side(
                server=Server(port=port, process=psutil.Process()),
                load=Load(port, [request("GET", "/")], tmp_path, name),
                connections=1,
                settle=settle,
            )

        plain = side("plain")
        first, second = (
            Comparison(title=name, target=0.5, limit=plain, service=side(name), beside="list")
            for name in ("first", "second")
        )
        figures = in_turn([first, second], replace(QUICK, rounds=2, seconds=0.05))
        assert driven == ["plain", "first", "second"] * 2
        for figure in figures:
            assert figure["beside"] == "list"
            assert figure["limit"] == figures[0]["limit"]
            assert figure["ratio"] == [
                pytest.approx(ours["per_s"] / theirs["per_s"], rel=0.01)
                for ours, theirs in zip(figure["service"], figure["limit"], strict=True)
            ]

    @pytest.mark.parametrize("expected", [None, {"items": []}])
    def test_find_a_wrong_answer(self, port: int, expected: object) -> None:
        with pytest.raises(WrongAnswerError, match="was answered 200 None"):
            check(port, request("GET", "/"), expected)
