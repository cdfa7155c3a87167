"""Options of the server, and the configuration that uvicorn receives."""

import logging
import math
import os
import signal
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from app.infra.server.disconnect import ConnectionObserverFactory, no_observer
from app.infra.server.limits import ConnectionLimits
from app.infra.server.protocol import BoundedHttpProtocol
from app.infra.server.refusal import RefusalWriter, write_empty_refusal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """
    How to serve an application.

    `factory` is `module:function`, because each process creates its own application. After SIGTERM
    the server continues for `drain` and reports that it is not ready; then it accepts no
    connections, and requests in progress have `grace` to finish. `observer` creates the observer
    of the connections in each process; `refuse` writes the responses of the server itself. Both
    are module-level functions.
    """

    factory: str
    host: str
    port: int
    workers: int
    grace: timedelta
    drain: timedelta = timedelta(0)
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    observer: ConnectionObserverFactory = no_observer
    refuse: RefusalWriter = write_empty_refusal
    reload_dir: str | None = None


class ServerConfig(uvicorn.Config):
    """
    uvicorn's configuration, and what our server and protocol need besides.

    A worker process that loads it stops when its parent dies. Otherwise a worker that survives a
    `kill -9` of the parent would keep the port, and nothing would restart it.
    """

    def __init__(
        self,
        app: str | ASGIApp,
        *,
        limits: ConnectionLimits,
        drain: timedelta = timedelta(0),
        observer: ConnectionObserverFactory = no_observer,
        refuse: RefusalWriter = write_empty_refusal,
        **others: Any,
    ) -> None:
        super().__init__(
            app,
            http=BoundedHttpProtocol,
            # The process that starts the server configures logging.
            log_config=None,
            timeout_keep_alive=math.ceil(limits.keep_alive.total_seconds()),
            **others,
        )
        self.limits = limits
        self.drain = drain
        self.observer = observer
        self.refuse = refuse

    @override
    def load(self) -> None:
        super().load()
        if (parent := parent_process()) is not None:
            threading.Thread(target=_stop_after, args=[parent], daemon=True).start()


def _stop_after(parent: BaseProcess) -> None:
    parent.join()
    logger.warning("server_parent_lost")
    # A graceful stop: requests in progress are finished.
    os.kill(os.getpid(), signal.SIGTERM)
