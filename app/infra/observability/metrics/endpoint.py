"""
The metrics endpoint, on a port of its own.

Each process of a server keeps its metrics in files of a shared directory. The parent process adds
them up: the counters of a dead process remain, its gauges are removed.
"""

import os
import re
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import REGISTRY, CollectorRegistry, Metric, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from typing_extensions import override

# prometheus_client reads it when it is imported, and keeps metrics in files if it is set.
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_GAUGE_FILE = re.compile(r"gauge_live[a-z]+_(?P<pid>[0-9]+)\.db", re.ASCII)


# prometheus_client.multiprocess has no annotations.
_forget_gauges: Callable[..., None] = mark_process_dead
_collector_of: Callable[..., Collector] = MultiProcessCollector


class ProcessesCollector(Collector):
    """Adds up the metrics of the processes that share a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @override
    def collect(self) -> Iterable[Metric]:
        for file in self._directory.iterdir():
            gauge = _GAUGE_FILE.fullmatch(file.name)
            if gauge and not _is_alive(pid := int(gauge["pid"])):
                _forget_gauges(pid, path=str(self._directory))
        return _collector_of(None, path=str(self._directory)).collect()


class MetricsError(Exception):
    """The metrics cannot be served; the message gives the reason in one sentence."""


@contextmanager
def metrics_endpoint(port: int | None, *, host: str, shared: bool = False) -> Generator[None]:
    """
    Serve `/metrics` within the context, unless `port` is None.

    With `shared` it serves the metrics of the processes started within the context, otherwise
    those of this process.

    :raises MetricsError: if the port cannot be bound
    """
    if port is None:
        yield
        return
    with ExitStack() as stack:
        registry = REGISTRY
        if shared:
            directory = stack.enter_context(TemporaryDirectory(prefix="favorites-metrics-"))
            registry = CollectorRegistry()
            registry.register(ProcessesCollector(Path(directory)))
            os.environ[DIRECTORY_VARIABLE] = directory
            stack.callback(os.environ.pop, DIRECTORY_VARIABLE)
        try:
            server, thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise MetricsError(
                f"Cannot serve metrics on {host}, port {port}: {error.strerror}"
            ) from error
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        yield


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
