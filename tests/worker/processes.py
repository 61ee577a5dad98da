"""Which processes of workers there are."""

from __future__ import annotations

import psutil

from tests.support.processes import is_alive
from watchdog.worker.client import WorkerExecutor


def servers(executor: WorkerExecutor) -> list[psutil.Process]:
    """Of that executor, begun by this very process."""
    return [
        psutil.Process(workers._server._process.pid)  # type: ignore[union-attr]
        for workers in executor._accounts.values()
        if workers._server is not None and workers._server._process is not None  # type: ignore[union-attr]
    ]


def sessions(executor: WorkerExecutor) -> list[psutil.Process]:
    return [child for server in servers(executor) for child in server.children()]


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if is_alive(one)]
