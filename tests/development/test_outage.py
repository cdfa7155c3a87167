import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from development.outage_report import Measured, Phase, Sample, as_table, draw
from development.page import update_page
from development.plot import quantile

BEGIN, END = "<!-- outage: begin -->", "<!-- outage: end -->"

MEASURED = Measured(
    phases=[
        Phase(name="normal", begin_s=0, end_s=10),
        Phase(name="outage", begin_s=10, end_s=20),
    ],
    samples=[
        Sample(at_s=1, latency_s=0.004, good=True),
        Sample(at_s=11, latency_s=0.006, good=True),
        Sample(at_s=12, latency_s=30.0, good=False),
    ],
    calls=[0.5, 1.5, 10.0],
    favorited=(202, 0.0312),
)


class TestFigures:
    @pytest.mark.parametrize(
        ("share", "expected"), [(0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1, 4)]
    )
    def test_take_a_quantile_from_the_values(self, share: float, expected: float) -> None:
        assert quantile([4, 2, 3, 1], share) == expected

    def test_take_zero_as_the_quantile_of_no_values(self) -> None:
        assert quantile([], 0.5) == 0

    def test_belong_to_their_phase(self) -> None:
        normal, outage = MEASURED.numbers()["phases"]
        assert (normal["reads"], normal["not_200"], normal["catalog_calls"]) == (1, 0, 2)
        assert (outage["reads"], outage["not_200"], outage["catalog_calls"]) == (2, 1, 1)
        assert (outage["p50_ms"], outage["max_ms"]) == (6.0, 30_000.0)


class TestPlot:
    def test_is_well_formed(self) -> None:
        root = ElementTree.fromstring(draw(MEASURED))  # noqa: S314 - our own text
        assert root.tag == "{http://www.w3.org/2000/svg}svg"

    def test_names_no_other_host(self) -> None:
        assert "http" not in draw(MEASURED).replace('xmlns="http://www.w3.org/2000/svg"', "")


class TestPage:
    def test_is_replaced_between_the_markers_only(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
        update_page(page, as_table(MEASURED), part="outage")
        expected = f"before\n{BEGIN}\n{as_table(MEASURED)}\n{END}\nafter\n"
        assert page.read_text(encoding="utf-8") == expected
