"""What the dashboard and the alerts ask for is what the running service has to tell."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from development.port import free_port
from tests.integration.service.harness import ROOT, await_answer, running_service, until

OBSERVABILITY = ROOT / "development" / "observability"
DASHBOARD = OBSERVABILITY / "grafana" / "dashboards" / "favorites.json"
ALERTS = OBSERVABILITY / "alerts.yml"

# Made by Prometheus itself.
ITS_OWN = {"up", "ALERTS"}
# Nothing is told of failures before something has failed.
LATER = {("status", "5xx"), ("outcome", "failed")}


def queries_of_the_dashboard() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def queries_of_the_alerts() -> Iterator[str]:
    """Return each `expr:`, be it on its line or in the indented block below."""
    expression = r"^( *)expr: (?:\|\n((?:\1  .*\n)+)|(.+)\n)"
    for _, block, line in re.findall(expression, ALERTS.read_text(encoding="utf-8"), re.MULTILINE):
        yield block or line


def selected(query: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Return each metric of a query with the labels it has to be equal to."""
    for name, matchers in re.findall(r"\b(favorites_\w+|up|ALERTS)\b(?:\{([^}]*)\})?", query):
        yield name, dict(re.findall(r'(\w+)="([^"]*)"', matchers))


def scraped(port: int) -> list[tuple[str, dict[str, str]]]:
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return [
        (sample.name, sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


class TestQueries:
    def test_are_all_found(self) -> None:
        alerts = ALERTS.read_text(encoding="utf-8")
        assert len(list(queries_of_the_alerts())) == alerts.count("- alert:") > 0
        assert all(list(selected(query)) for query in queries_of_the_alerts())
        assert all(list(selected(query)) for query in queries_of_the_dashboard())

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
            httpx2.get(f"{service.urls[0]}/products/1", timeout=10).raise_for_status()
            await_answer(f"http://127.0.0.1:{worker}/metrics", program)

            async def has_run() -> bool:
                return any(name == "favorites_job_runs_total" for name, _ in scraped(worker))

            await until(has_run, what="a job")
            told = scraped(api) + scraped(worker)
        names = {name for name, _ in told}
        values = {(label, value) for _, labels in told for label, value in labels.items()}
        for query in (*queries_of_the_dashboard(), *queries_of_the_alerts()):
            for name, labels in selected(query):
                assert name in names | ITS_OWN, query
                if name in names:
                    assert set(labels.items()) <= values | LATER, query
