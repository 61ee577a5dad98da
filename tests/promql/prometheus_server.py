"""A real Prometheus on loopback, loaded by backfill and asked over its API, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tests.support.ports import free_port
from watchdog.core.model import Labels
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import is_missing

Samples = Mapping[Labels, Mapping[int, float]]
InstantVector = dict[Labels, float]
"""Labels with the name → value."""


class QueryError(Exception):
    """Prometheus answered with an error."""


def unavailable_reason() -> str | None:
    """Why there is no Prometheus to ask; None when there is."""
    lacking = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    return f"no {' and no '.join(lacking)} on PATH (Debian: apt-get install prometheus)" if lacking else None


def format_openmetrics(samples: Samples) -> str:
    """The text that promtool reads. Stale markers cannot be written in it."""
    families: dict[str, list[str]] = {}
    for key, points in samples.items():
        labels = ",".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in key if name != METRIC_NAME_LABEL
        )
        lines = families.setdefault(dict(key)[METRIC_NAME_LABEL], [])
        lines += [
            f"{dict(key)[METRIC_NAME_LABEL]}{{{labels}}} {_number(v)} {t / 1_000:.3f}"
            for t, v in sorted(points.items())
        ]
    text = [line for name, lines in sorted(families.items()) for line in (f"# TYPE {name} unknown", *lines)]
    return "\n".join([*text, "# EOF", ""])


def _number(v: float) -> str:
    return "NaN" if math.isnan(v) else "+Inf" if v == math.inf else "-Inf" if v == -math.inf else repr(v)


class PrometheusClient:
    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self.url = f"http://{connection.host}:{connection.port}"

    def query(self, text: str, at: int) -> InstantVector:
        """The instant vector at a time in ms; a scalar has no labels. Raises Refused with what the server says."""
        body = urllib.parse.urlencode({"query": text, "time": f"{at / 1_000:.3f}"})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", "/api/v1/query", body, kind)
        said = json.loads(self._connection.getresponse().read())
        if said["status"] != "success":
            raise QueryError(said["error"])
        data = said["data"]
        if data["resultType"] == "scalar":
            return {(): float(data["result"][1])}
        return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in data["result"]}


@contextlib.contextmanager
def running_server(samples: Samples, folder: Path) -> Iterator[PrometheusClient]:
    """A server that has these samples. Without stale markers, please."""
    assert not any(has_missing_bits(v) for points in samples.values() for v in points.values())
    (folder / "samples.txt").write_text(format_openmetrics(samples))
    (folder / "prometheus.yml").write_text("global: {evaluation_interval: 1m}\n")
    data = folder / "data"
    backfill = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "samples.txt"), str(data)]
    subprocess.run(backfill, check=True, capture_output=True, timeout=120)
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=100y",
        "--log.level=error",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _await_ready(process, port, folder / "log")
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                yield PrometheusClient(connection)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def has_missing_bits(v: float) -> bool:
    return bool(is_missing(np.array([v]))[0])


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"prometheus ended: {log.read_text()}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"prometheus does not become ready: {log.read_text()}")
