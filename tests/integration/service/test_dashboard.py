"""The dashboard and the alerts query metrics that the running service exports."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.infra.http.problem import concrete_problems
from development.port import free_port
from tests.integration.service.harness import ROOT, Failed, await_answer, running_service, until
from tests.plain_http import NO_TLS

OBSERVABILITY = ROOT / "development" / "observability"
DASHBOARD = OBSERVABILITY / "grafana" / "dashboards" / "favorites.json"
ALERTS = OBSERVABILITY / "alerts.yml"

PROMTOOL = shutil.which("promtool")

# Exported by Prometheus itself.
BUILT_IN = {"up", "ALERTS"}
# Exported after the first such problem; the codes are those of the API's documentation.
ON_DEMAND = {("code", problem.code) for problem in concrete_problems()}


def targets_of_the_dashboard() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        yield from panel.get("targets", ())


def queries_of_the_dashboard() -> Iterator[str]:
    for target in targets_of_the_dashboard():
        if target["datasource"]["type"] == "prometheus":
            yield target["expr"]


def queries_of_the_alerts() -> Iterator[str]:
    """Return each `expr:`, on its own line or as an indented block."""
    expression = r"^( *)expr: (?:\|\n((?:\1  .*\n)+)|(.+)\n)"
    for _, block, line in re.findall(expression, ALERTS.read_text(encoding="utf-8"), re.MULTILINE):
        yield block or line


def queries_of_the_annotations() -> Iterator[str]:
    """Return the queries in the texts of alerts."""
    for query in re.findall(r'query "((?:[^"\\]|\\.)*)"', ALERTS.read_text(encoding="utf-8")):
        yield query.replace('\\"', '"')


def selected(query: str) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """Return each metric of a query with the label values that it selects, without patterns."""
    for name, matchers in re.findall(r"\b(favorites_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", query):
        pairs = re.findall(r'(\w+)(?:=|=~|!=|!~)"([^"]*)"', matchers)
        values = {(label, value) for label, all_ in pairs for value in all_.split("|")}
        yield name, {(label, value) for label, value in values if not re.search(r"[.*$]", value)}


def scraped(port: int) -> list[tuple[str, dict[str, str]]]:
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10, verify=NO_TLS).text
    return [
        (sample.name, sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def unmatched(exported: list[tuple[str, dict[str, str]]]) -> list[str]:
    """Return the queries of a metric or a label value that is not exported."""
    names = {name for name, _ in exported} | BUILT_IN
    values = {
        (label, value) for _, labels in exported for label, value in labels.items()
    } | ON_DEMAND
    return [
        query
        for query in (
            *queries_of_the_dashboard(),
            *queries_of_the_alerts(),
            *queries_of_the_annotations(),
        )
        for name, labels in selected(query)
        if name not in names or (name not in BUILT_IN and not labels <= values)
    ]


class TestQueries:
    def test_are_all_found(self) -> None:
        alerts = ALERTS.read_text(encoding="utf-8")
        assert len(list(queries_of_the_alerts())) == alerts.count("- alert:") > 0
        assert all(list(selected(query)) for query in queries_of_the_alerts())
        assert all(list(selected(query)) for query in queries_of_the_dashboard())
        assert len(list(queries_of_the_annotations())) == alerts.count("query ") > 0

    def test_are_of_metrics_and_traces_only(self) -> None:
        targets = list(targets_of_the_dashboard())
        assert {target["datasource"]["type"] for target in targets} == {"prometheus", "jaeger"}
        # The service names of the traces.
        searched = {target["service"] for target in targets if "service" in target}
        assert searched == {"favorites-api", "favorites-worker"}

    async def test_match_the_metrics_of_the_service(
        self, tmp_path: Path, new_database: Callable[..., str]
    ) -> None:
        api, worker = free_port(), free_port()
        with (
            running_service(
                tmp_path, new_database(migrated=True), METRICS_PORT=str(api)
            ) as service,
            service.host.running("-m", "app", "worker", METRICS_PORT=str(worker)) as program,
        ):
            httpx2.get(
                f"{service.urls[0]}/products/1", timeout=10, verify=NO_TLS
            ).raise_for_status()
            await_answer(f"http://127.0.0.1:{worker}/metrics", program)

            async def all_matched() -> bool:
                return not unmatched(scraped(api) + scraped(worker))

            # Some series start with the first sample of the database or the queue.
            with suppress(Failed):
                await until(all_matched)
            assert unmatched(scraped(api) + scraped(worker)) == []


@pytest.mark.skipif(PROMTOOL is None, reason="Debian's package prometheus is not installed")
class TestAlerts:
    @pytest.mark.parametrize(
        "check",
        [
            ("check", "config", "prometheus.yml"),
            ("check", "rules", "alerts.yml"),
            ("test", "rules", "alerts_test.yml"),
        ],
        ids=" ".join,
    )
    def test_are_accepted_by_promtool(self, check: tuple[str, ...]) -> None:
        assert PROMTOOL is not None
        done = subprocess.run(  # noqa: S603 - the program is named above
            [PROMTOOL, *check], cwd=OBSERVABILITY, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def test_are_all_tested(self) -> None:
        tested = (OBSERVABILITY / "alerts_test.yml").read_text(encoding="utf-8")
        alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
        assert [alert for alert in alerts if f"alertname: {alert}" not in tested] == []
