import xml.etree.ElementTree as ET
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typing_extensions import override

from development.benchmark import load
from development.benchmark.growth import as_table as growth_table
from development.benchmark.growth_plot import draw as draw_growth
from development.benchmark.load import Load, Rate, driver, request
from development.benchmark.noise import Spread, chance, compared
from development.benchmark.report import as_changes, as_table, changes, draw, update_page
from development.benchmark.run import load_result


def result(*, ratio: float = 0.5, cpu_us: float = 300.0, slower: float = 1.0) -> dict[str, Any]:
    """Make a result of five rounds around these figures, on a machine that may be slower."""
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
                "target": 0.7,
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
    def test_is_the_middle_and_the_ends(self) -> None:
        assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)

    def test_of_nothing_does_not_exist(self) -> None:
        with pytest.raises(ValueError, match="Nothing"):
            Spread.of([])


class TestChance:
    def test_is_least_where_all_of_one_are_above_the_other(self) -> None:
        assert chance([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)

    def test_is_the_same_either_way(self) -> None:
        one, other = [1.0, 2.0, 6.0, 4.5], [5.0, 3.0, 7.0, 8.0]
        assert chance(one, other) == chance(other, one)

    def test_is_certain_for_one_and_the_same(self) -> None:
        assert chance([1, 2, 3, 4], [1, 2, 3, 4]) == 1
        assert chance([5, 5, 5], [5, 5, 5]) == 1

    def test_cannot_be_small_with_three_rounds(self) -> None:
        assert chance([1, 2, 3], [7, 8, 9]) == pytest.approx(0.1)


class TestChange:
    def test_needs_more_than_one_odd_round(self) -> None:
        change = compared("x", [1.0, 1.01, 1.02, 1.03], [1.0, 1.01, 1.02, 9.0])
        assert not change.beyond_noise

    def test_needs_to_be_large_enough_to_speak_of(self) -> None:
        change = compared("x", [1.0, 1.001, 1.002, 1.003], [1.004, 1.005, 1.006, 1.007])
        assert change.probability < 0.05
        assert not change.beyond_noise

    def test_is_told_from_noise(self) -> None:
        change = compared("x", [1.0, 1.1, 0.9, 1.05], [1.5, 1.6, 1.45, 1.55])
        assert change.beyond_noise
        assert change.factor == pytest.approx(1.525 / 1.025)


class TestComparison:
    def test_names_what_changed(self) -> None:
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

    def test_tells_what_costs_more_from_a_slower_machine(self) -> None:
        changed = [each.name for each in changes(result(), result(slower=2)) if each.beyond_noise]
        assert changed == []
        dearer = changes(result(), result(slower=2, cpu_us=330))
        assert [each.name for each in dearer if each.beyond_noise] == ["list CPU"]

    def test_leaves_out_what_the_limit_does_not_tell(self) -> None:
        before, after = result(), result()
        for each in after["figures"]["list"]["limit"]:
            del each["cpu_us"], each["p99_ms"]
        names = [change.name for change in changes(before, after)]
        assert names == ["list ratio", "start ratio"]

    def test_leaves_out_what_only_one_of_them_has(self) -> None:
        after = result()
        del after["figures"]["list"]
        assert [change.name for change in changes(result(), after)] == ["start ratio"]


class TestReport:
    def test_is_a_table(self) -> None:
        table = as_table(result())
        assert "| List ten favorites | 1000 | 2000 | **0.50** (0.49 to 0.51) | ≥ 0.7 |" in table
        assert "| Start | **1.10** (1.00 to 1.20) | 1.5 |" in table
        assert "110.5" in table
        assert "16.2" in table

    def test_shows_the_limit_beside_where_it_was_measured(self) -> None:
        measured = result()
        measured["figures"]["half_load"] = {
            "title": "Half load",
            "at_most": 3.0,
            "ratio": [2.0, 2.5, 3.0],
            "ratio_of_limit": [4.0, 4.5, 5.0],
        }
        table = as_table(measured)
        assert "| Half load | **2.50** (2.00 to 3.00) | 3 |" in table
        assert "| … and those of the limit | **4.50** (4.00 to 5.00) | |" in table

    def test_is_a_plot(self) -> None:
        root = ET.fromstring(draw(result()))  # noqa: S314 - our own
        assert root.tag.endswith("svg")
        texts = [element.text for element in root.iter() if element.tag.endswith("text")]
        assert "List ten favorites" in texts
        assert "50%" in texts

    def test_renews_its_part_of_a_page_alone(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(
            "a\n<!-- benchmark: begin -->\nold\n<!-- benchmark: end -->\n"
            "<!-- growth: begin -->\nkept\n<!-- growth: end -->\nz\n",
            encoding="utf-8",
        )
        update_page(page, r"new \1")
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

    def test_is_a_plot_of_a_point_for_each_measurement(self) -> None:
        root = ET.fromstring(draw_growth(POINTS))  # noqa: S314 - our own
        circles = [element for element in root.iter() if element.tag.endswith("circle")]
        assert len(circles) == len(POINTS)
        texts = [element.text for element in root.iter() if element.tag.endswith("text")]
        assert {"rows", "workers", "list", "add", "10^7", "2"} <= set(texts)


class TestResult:
    @pytest.mark.parametrize("text", ["[]", "{}", "no JSON"])
    def test_is_told_from_something_else(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"result|Expecting"):
            load_result(text)


class TestRequest:
    def test_is_worded_as_it_is_sent(self) -> None:
        assert request("PUT", "/x", {"A": "b"}, b"{}") == (
            b"PUT /x HTTP/1.1\r\nHost: localhost\r\nA: b\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )


with_wrk = pytest.mark.skipif(driver() != "wrk", reason="Debian's package wrk is not installed")


class Empty(BaseHTTPRequestHandler):
    """Answers everything with nothing, on a connection that stays."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


class TestLoad:
    @pytest.mark.parametrize("made_by", ["asyncio", pytest.param("wrk", marks=with_wrk)])
    @pytest.mark.parametrize("evenly", [False, True])
    def test_pauses(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made_by: str, *, evenly: bool
    ) -> None:
        monkeypatch.setattr(load, "driver", lambda: made_by)
        with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            try:
                many = Load(server.server_port, [request("GET", "/")], tmp_path, "many")
                measured = many.run(seconds=1, connections=4, at=Rate(per_s=20, evenly=evenly))
            finally:
                server.shutdown()
                thread.join()
        assert (measured.refused, measured.broken) == (0, 0)
        # Twenty, as it were; without a pause it is hundreds.
        assert 0 < measured.requests < 60
