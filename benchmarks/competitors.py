"""Rule evaluations per CPU-second of a real Prometheus, and of VictoriaMetrics with vmalert.

They are given the samples by remote write, a day of them and more than they will need of the future, and then do nothing but
evaluate: nothing is scraped, nothing fires, nobody is told. What is counted is what they say they evaluated and the
CPU time of their processes.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import psutil

from benchmarks.cases import HOUR, SECOND, BenchmarkCase, SeriesHistory
from benchmarks.measure import (
    COMPETITOR_TIMEOUT,
    MeasurementError,
    cpu_seconds,
    describe_failure,
    fetch,
    free_port,
    require_alive,
    running_process,
    wait_until,
)
from benchmarks.remote_write import HEADERS, encode_request

FUTURE_SECONDS = 1_200
"""Seconds of samples ahead of now, so that windows stay full while they are measured."""
EVALUATION_INTERVAL = "200ms"
"""Evaluation interval: short, so that their processes are busy."""
_CHUNK = HOUR // 2
T = TypeVar("T")


class Competitor(Protocol):
    name: str

    def push_samples(self, histories: Iterable[list[SeriesHistory]]) -> None:
        """Takes histories that end now, and go on for a while. Once."""

    def measure_rules(self, case: BenchmarkCase, seconds: float) -> float:
        """Checks per CPU-second."""

    def measure_range_queries(self, exprs: Sequence[str], seconds: float, /) -> float:
        """Points per CPU-second that range queries at a step of 1 s return; 0 where that is not measured."""


class Figures(NamedTuple):
    """What competitors reached, and why some did not, by name."""

    values: Mapping[str, float] = MappingProxyType({})
    failures: Mapping[str, str] = MappingProxyType({})


@contextlib.contextmanager
def running_competitors(folder: Path, log: Callable[[str], None], *, only_prometheus: bool) -> Iterator[Lineup]:
    """Those that are on PATH, running. One that does not start is among them, and fails whatever it is asked."""
    with contextlib.ExitStack() as stack:
        rivals: list[Competitor] = []

        def start(name: str, running: contextlib.AbstractContextManager[Competitor]) -> None:
            try:
                rivals.append(stack.enter_context(running))
            except Exception as error:
                rivals.append(UnavailableCompetitor(name, describe_failure(error)))

        if (program := shutil.which("prometheus")) is not None:
            start("Prometheus", _running_prometheus(program, folder / "prometheus"))
        else:
            log("prometheus is not on PATH: not measured")
        victoria = shutil.which("victoria-metrics") or shutil.which("victoria-metrics-prod")
        vmalert = shutil.which("vmalert") or shutil.which("vmalert-prod")
        if only_prometheus:
            log("vmalert is measured by the full run only")
        elif victoria is not None and vmalert is not None:
            start("vmalert", _running_victoria(victoria, vmalert, folder / "victoria"))
        else:
            log("victoria-metrics and vmalert are not both on PATH: not measured")
        yield Lineup(rivals, log)


class UnavailableCompetitor:
    """One that did not start."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self._reason = name, reason

    def push_samples(self, _: Iterable[list[SeriesHistory]]) -> None:
        raise MeasurementError(self._reason)

    def measure_rules(self, _: BenchmarkCase, __: float) -> float:
        raise MeasurementError(self._reason)

    def measure_range_queries(self, _: Sequence[str], __: float, /) -> float:
        raise MeasurementError(self._reason)


class Lineup:
    """Competitors, asked one after the other for the same figure. Who fails once is not asked again: each time may cost
    a minute of waiting."""

    def __init__(self, competitors: Sequence[Competitor], log: Callable[[str], None]) -> None:
        self._competitors, self._log = competitors, log
        self._failures: dict[str, str] = {}

    def push_samples(self, histories: Iterable[list[SeriesHistory]]) -> None:
        known = list(histories)
        for each in self._competitors:
            self._log(f"{each.name} takes the samples")
            self._try(each, lambda each: each.push_samples(known))

    def measure(self, ask: Callable[[Competitor], float]) -> Figures:
        values = {}
        for each in self._competitors:
            if each.name not in self._failures and (value := self._try(each, ask)) is not None:
                values[each.name] = value
        return Figures(values, dict(self._failures))

    def _try(self, competitor: Competitor, ask: Callable[[Competitor], T]) -> T | None:
        try:
            return ask(competitor)
        except Exception as error:
            self._failures[competitor.name] = describe_failure(error)
            self._log(f"{competitor.name} is left out from here on: {self._failures[competitor.name]}")
            return None


def program_version(program: str, package: str) -> str | None:
    """Of a program on PATH; None when there is none."""
    if (path := shutil.which(program)) is None:
        return None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    number = re.search(r"version[ =:-]*v?(\d[\w.+-]*)", said.stdout + said.stderr)
    if number is not None:
        return number[1]
    if shutil.which("dpkg-query") is None:
        return "?"
    asked = ["dpkg-query", "--show", "--showformat=${Version}", package]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout or "?"


def make_rule_file(case: BenchmarkCase) -> str:
    """JSON is YAML. As many rules as they are to have; expressions come round."""
    exprs = [f"{case.exprs[i % len(case.exprs)]} > {case.limit}" for i in range(case.competitor_rules)]
    listed = [{"alert": f"rule-{i}", "expr": expr} for i, expr in enumerate(exprs)]
    return json.dumps({"groups": [{"name": "all", "interval": EVALUATION_INTERVAL, "rules": listed}]})


def read_counter(page: str | None, name: str) -> float:
    """Sum of a metric's samples on a page."""
    lines = [line for line in (page or "").splitlines() if re.match(rf"{name}[{{ ]", line)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


class _Prometheus:
    name = "Prometheus"

    def __init__(self, url: str, rules: Path, process: psutil.Popen) -> None:
        self._url, self._rules, self._process = url, rules, process

    def push_samples(self, histories: Iterable[list[SeriesHistory]]) -> None:
        _remote_write(f"{self._url}/api/v1/write", histories)
        _wait_until_idle([self._process])  # a day of samples is compacted once

    def measure_rules(self, case: BenchmarkCase, seconds: float) -> float:
        self._load_rules(make_rule_file(case))
        began = self._evaluation_count()
        wait_until(
            lambda: self._evaluation_count() >= began + case.competitor_rules,
            COMPETITOR_TIMEOUT,
            "Prometheus evaluates the rules",
        )
        rate = _measure([self._process], self._evaluation_count, seconds)
        self._load_rules('{"groups": []}')
        return rate * case.checks

    def measure_range_queries(self, exprs: Sequence[str], seconds: float) -> float:
        points, spent, deadline = 0, 0.0, time.monotonic() + 10 * seconds
        end = time.time_ns() // 1_000_000_000
        asked = [
            urllib.parse.urlencode({"query": expr, "start": end - 3_000, "end": end - 1, "step": 1}) for expr in exprs
        ]
        while spent < max(seconds, 0.2) and time.monotonic() < deadline:
            before = cpu_seconds([self._process])
            for query in asked:
                if fetch(f"{self._url}/api/v1/query_range?{query}") is None:
                    raise MeasurementError("Prometheus does not answer")
            points, spent = points + 3_000 * len(asked), spent + cpu_seconds([self._process]) - before
        return points / spent if spent else 0.0

    def _load_rules(self, text: str) -> None:
        self._rules.write_text(text)
        if fetch(f"{self._url}/-/reload", b"") is None:
            raise MeasurementError("Prometheus refuses the rules")

    def _evaluation_count(self) -> float:
        return read_counter(fetch(f"{self._url}/metrics"), "prometheus_rule_evaluations_total")


@contextlib.contextmanager
def _running_prometheus(program: str, folder: Path) -> Iterator[Competitor]:
    folder.mkdir()
    rules, port = folder / "rules.yml", free_port()
    rules.write_text('{"groups": []}')
    (folder / "prometheus.yml").write_text(json.dumps({"rule_files": [str(rules)]}))
    argv = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/tsdb",
        "--log.level=error",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle",
        "--web.enable-remote-write-receiver",
    ]
    with running_process(argv, folder / "log") as process:
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            require_alive(process, "Prometheus", folder / "log")
            return fetch(f"{url}/-/ready") is not None

        wait_until(is_ready, COMPETITOR_TIMEOUT, "Prometheus is ready")
        yield _Prometheus(url, rules, process)


class _VictoriaMetrics:
    name = "vmalert"

    def __init__(self, url: str, vmalert: str, folder: Path, process: psutil.Popen) -> None:
        self._url, self._vmalert, self._folder, self._process = url, vmalert, folder, process

    def push_samples(self, histories: Iterable[list[SeriesHistory]]) -> None:
        _remote_write(f"{self._url}/api/v1/write", histories)
        fetch(f"{self._url}/internal/force_flush")
        _wait_until_idle([self._process])

    def measure_rules(self, case: BenchmarkCase, seconds: float) -> float:
        """Both processes count: one asks, the other one answers."""
        rules, port = self._folder / "rules.yml", free_port()
        rules.write_text(make_rule_file(case))
        argv = [
            self._vmalert,
            f"-rule={rules}",
            f"-datasource.url={self._url}",
            "-notifier.url=http://127.0.0.1:1",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-loggerLevel=ERROR",
        ]
        page = f"http://127.0.0.1:{port}/metrics"
        with running_process(argv, self._folder / "log") as process:

            def evaluated() -> float:
                require_alive(process, "vmalert", self._folder / "log")
                return read_counter(fetch(page), "vmalert_execution_total")

            wait_until(lambda: evaluated() > case.competitor_rules, COMPETITOR_TIMEOUT, "vmalert evaluates the rules")
            return _measure([self._process, process], evaluated, seconds) * case.checks

    def measure_range_queries(self, _: Sequence[str], __: float) -> float:
        return 0.0


@contextlib.contextmanager
def _running_victoria(victoria: str, vmalert: str, folder: Path) -> Iterator[Competitor]:
    folder.mkdir()
    port = free_port()
    argv = [
        victoria,
        f"-storageDataPath={folder}/data",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-loggerLevel=ERROR",
        "-search.latencyOffset=1ms",
        "-retentionPeriod=2d",
    ]
    with running_process(argv, folder / "log") as process:
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            require_alive(process, "VictoriaMetrics", folder / "log")
            return fetch(f"{url}/health") is not None

        wait_until(is_ready, COMPETITOR_TIMEOUT, "VictoriaMetrics is ready")
        yield _VictoriaMetrics(url, vmalert, folder, process)


def _remote_write(url: str, histories: Iterable[list[SeriesHistory]]) -> None:
    """Half an hour at a time, all series together: samples that are an hour behind the newest one are refused."""
    known = list(histories)
    end = time.time_ns() // 1_000_000 // SECOND * SECOND
    for start in range(-max(one.values.size for history in known for one in history), FUTURE_SECONDS, _CHUNK):
        for history in known:
            length = history[0].values.size
            seconds = np.arange(max(start, -length), min(start + _CHUNK, FUTURE_SECONDS))
            if len(history) > 1_000:
                seconds = seconds[seconds % 30 == 0]  # instant reads: nobody looks at what lies between
            t = (end + seconds * SECOND).astype(np.int64)
            for part in range(0, len(history) if seconds.size else 0, 1_000):
                some = history[part : part + 1_000]
                body = encode_request((one.name, one.labels, t, one.values[seconds % length]) for one in some)
                if fetch(url, body, HEADERS) is None:
                    raise MeasurementError(f"{url} refuses the samples")


def _wait_until_idle(processes: list[psutil.Popen]) -> None:
    """Waits until what the samples have set off is done."""
    calm, deadline = 0, time.monotonic() + 60
    while calm < 3 and time.monotonic() < deadline:
        before = cpu_seconds(processes)
        time.sleep(0.5)
        calm = calm + 1 if cpu_seconds(processes) - before <= 0.03 else 0


def _measure(processes: list[psutil.Popen], evaluated: Callable[[], float], seconds: float) -> float:
    """Evaluations per CPU-second over at least `seconds`, and until enough CPU time was spent to be read off.

    From one change of the count to another: vmalert's page is a second old at times, but new when it changes.
    """

    def news(after: float) -> tuple[float, float]:
        deadline = time.monotonic() + COMPETITOR_TIMEOUT
        while (count := evaluated()) == after:
            if time.monotonic() > deadline:
                raise MeasurementError(f"nothing was evaluated for {COMPETITOR_TIMEOUT:g} s")
            time.sleep(0.05)
        return count, cpu_seconds(processes)

    (count, spent), began = news(evaluated()), time.monotonic()
    while (passed := time.monotonic() - began) < seconds or (
        cpu_seconds(processes) - spent < 0.5 and passed < 10 * seconds
    ):
        time.sleep(0.05)
    last, spent_then = news(evaluated())
    return (last - count) / (spent_then - spent)
