import os
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.infra.observability.metrics.endpoint import (
    DIRECTORY_VARIABLE,
    MetricsError,
    metrics_endpoint,
)
from development.port import free_port

# A server process: counts, prints its id, and runs until its stdin is closed.
COUNTING = """
import os, sys
from app.infra.observability.metrics.process import process_metrics
metrics = process_metrics()
metrics.cache.refused()
metrics.connections_limit.labels("main").set(8)
print(os.getpid(), flush=True)
sys.stdin.read()
"""
HOST = "127.0.0.1"


def scrape(port: int) -> dict[str, float]:
    connection = HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def start_counting() -> subprocess.Popen[str]:
    process = subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-c", COUNTING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


class TestMetricsEndpoint:
    def test_serves_the_metrics_of_this_process(self) -> None:
        port = free_port()
        with metrics_endpoint(port, host=HOST):
            assert scrape(port)["process_start_time_seconds"] > 0
        with pytest.raises(ConnectionRefusedError):
            scrape(port)

    def test_adds_up_the_metrics_of_several_processes(self) -> None:
        port = free_port()
        with metrics_endpoint(port, host=HOST, shared=True):
            directory = Path(os.environ[DIRECTORY_VARIABLE])
            with start_counting() as one, start_counting() as other:
                counted = scrape(port)
                assert counted["favorites_cache_answers_total refused"] == 2
                assert counted["favorites_database_connections_limit main"] == 16
                other.kill()
                other.wait()
                counted = scrape(port)
                assert counted["favorites_cache_answers_total refused"] == 2
                assert counted["favorites_database_connections_limit main"] == 8
                one.kill()
        assert not directory.exists()
        assert DIRECTORY_VARIABLE not in os.environ

    def test_does_nothing_without_a_port(self) -> None:
        with metrics_endpoint(None, host=HOST, shared=True):
            assert DIRECTORY_VARIABLE not in os.environ

    def test_reports_a_port_that_is_in_use(self) -> None:
        with socket.create_server((HOST, 0)) as taken:
            port: int = taken.getsockname()[1]
            with (
                pytest.raises(MetricsError, match=f"port {port}"),
                metrics_endpoint(port, host=HOST),
            ):
                pass
