"""What the dashboard and the alerts ask for is what the running service has to tell."""

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

# Made by Prometheus itself.
ITS_OWN = {"up", "ALERTS"}
# Told of when there is one: the codes of problems are those of the API's documentation.
LATER = {("code", problem.code) for problem in concrete_problems()}


def targets_of_the_dashboard() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        yield from panel.get("targets", ())


def queries_of_the_dashboard() -> Iterator[str]:
    for target in targets_of_the_dashboard():
        if target["datasource"]["type"] == "prometheus":
            yield target["expr"]


def queries_of_the_alerts() -> Iterator[str]:
    """Return each `expr:`, be it on its line or in the indented block below."""
    expression = r"^( *)expr: (?:\|\n((?:\1  .*\n)+)|(.+)\n)"
    for _, block, line in re.findall(expression, ALERTS.read_text(encoding="utf-8"), re.MULTILINE):
        yield block or line


def queries_of_the_annotations() -> Iterator[str]:
    """Return what is asked to word an alert."""
    for query in re.findall(r'query "((?:[^"\\]|\\.)*)"', ALERTS.read_text(encoding="utf-8")):
        yield query.replace('\\"', '"')


def selected(query: str) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """Return each metric of a query with the values that its labels may have, patterns aside."""
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


def not_told(told: list[tuple[str, dict[str, str]]]) -> list[str]:
    """Return the queries that ask for a metric, or for the value of a label, that is not told."""
    names = {name for name, _ in told} | ITS_OWN
    values = {(label, value) for _, labels in told for label, value in labels.items()} | LATER
    return [
        query
        for query in (
            *queries_of_the_dashboard(),
            *queries_of_the_alerts(),
            *queries_of_the_annotations(),
        )
        for name, labels in selected(query)
        if name not in names or (name not in ITS_OWN and not labels <= values)
    ]


class TestQueries:
    def test_are_all_found(self) -> None:
        alerts = ALERTS.read_text(encoding="utf-8")
        assert len(list(queries_of_the_alerts())) == alerts.count("- alert:") > 0
        assert all(list(selected(query)) for query in queries_of_the_alerts())
        assert all(list(selected(query)) for query in queries_of_the_dashboard())
        assert len(list(queries_of_the_annotations())) == alerts.count("query ") > 0

    def test_are_of_metrics_and_traces_alone(self) -> None:
        targets = list(targets_of_the_dashboard())
        assert {target["datasource"]["type"] for target in targets} == {"prometheus", "jaeger"}
        # By the names under which traces are sent.
        searched = {target["service"] for target in targets if "service" in target}
        assert searched == {"favorites-api", "favorites-worker"}

    async def test_name_what_the_service_tells(
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

            async def all_are_told() -> bool:
                return not not_told(scraped(api) + scraped(worker))

            # Some are told from the first look at the database, or at the queue, on.
            with suppress(Failed):
                await until(all_are_told)
            assert not_told(scraped(api) + scraped(worker)) == []


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
    def test_are_what_promtool_takes(self, check: tuple[str, ...]) -> None:
        assert PROMTOOL is not None
        done = subprocess.run(  # noqa: S603 - the program is named above
            [PROMTOOL, *check], cwd=OBSERVABILITY, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def test_are_all_tested(self) -> None:
        tested = (OBSERVABILITY / "alerts_test.yml").read_text(encoding="utf-8")
        alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
        assert [alert for alert in alerts if f"alertname: {alert}" not in tested] == []
