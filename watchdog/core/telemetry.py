"""A log line and our own Prometheus metrics for what happens. The names are an interface: docs/operations.md."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from watchdog.core.model import Labels

log = logging.getLogger("watchdog")
disable_created_metrics()  # type: ignore[no-untyped-call]  # theirs
"""When each counter was made: a Prometheus would keep one more series for each, and nobody asks for it."""


class Telemetry:
    """The metrics of one daemon, in a registry of its own."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        self.trips = Counter(
            "watchdog_rule_trips", "Times a rule tripped.", ["rule", "target", "severity"], registry=registry
        )
        self.plan_runs = Counter(
            "watchdog_plan_runs",
            "Levels that ended, by outcome.",
            ["plan", "target", "level", "outcome"],
            registry=registry,
        )
        self.plan_duration = Histogram(
            "watchdog_plan_duration_seconds",
            "From the start of a plan run to its outcome.",
            ["plan", "target"],
            buckets=(1, 5, 15, 60, 300, 900, 1800, 3600, 7200),
            registry=registry,
        )
        self.notifications = Counter(
            "watchdog_notifications", "Messages by what became of them.", ["channel", "outcome"], registry=registry
        )
        self.chat_answers = Counter(
            "watchdog_chat_answers",
            "What people said in chats, by what became of it.",
            ["channel", "outcome"],
            registry=registry,
        )
        self.chat_listening = Gauge(
            "watchdog_chat_listening", "1 while it is heard what people answer.", ["channel"], registry=registry
        )
        self.source_up = Gauge("watchdog_source_up", "1 when the last read succeeded.", ["source"], registry=registry)
        self.source_duration = Gauge(
            "watchdog_source_duration_seconds",
            "How long the last read took, or the last delivery waited.",
            ["source"],
            registry=registry,
        )
        self.source_last_sample = Gauge(
            "watchdog_source_last_sample_timestamp_seconds", "Time of the newest sample.", ["source"], registry=registry
        )
        self.newest_samples: dict[str, int] = {}
        """Source → the same, in ms."""
        self.source_dropped = Counter(
            "watchdog_source_dropped",
            "Samples that were left out because a source brings more than its limits allow.",
            ["source", "reason"],
            registry=registry,
        )
        self.source_failures = Counter(
            "watchdog_source_failures",
            "Reads that failed, and deliveries that did not come.",
            ["source"],
            registry=registry,
        )
        self.history_bytes = Gauge("watchdog_history_bytes", "Size of series.db.", registry=registry)
        self.history_oldest = Gauge(
            "watchdog_history_oldest_timestamp_seconds", "Time of the oldest sample in series.db.", registry=registry
        )
        self.history_lost = Counter(
            "watchdog_history_set_aside",
            "Times that series.db could not be read and was begun anew.",
            registry=registry,
        )
        self.evaluation_duration = Histogram(
            "watchdog_evaluation_duration_seconds",
            "One round of judging.",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
            registry=registry,
        )
        self.reload_ok = Gauge(
            "watchdog_config_last_reload_successful", "0 when the files on disk are not what runs.", registry=registry
        )
        build = Gauge("watchdog_build_info", "Constant 1, with the version.", ["version"], registry=registry)
        build.labels(version).set(1)
        self.snapshot: Callable[[], MetricsSnapshot] = MetricsSnapshot
        """Who tells what is so at the moment; asked only when somebody reads the metrics."""
        registry.register(_SnapshotCollector(self))

    def note_read(self, source: str, newest: int) -> None:
        """It was read, or has delivered. `newest`: of which time its newest sample is, in ms; 0 where there was none, which
        makes what came before no older than it is."""
        self.source_up.labels(source).set(1)
        if newest:
            self.newest_samples[source] = newest
            self.source_last_sample.labels(source).set(newest / 1_000)

    def note_failure(self, source: str) -> None:
        """It could not be read, or has not delivered."""
        self.source_up.labels(source).set(0)
        self.source_failures.labels(source).inc()

    def remove_source(self, source: str) -> None:
        """One that is read no longer: what was last known of it is not so any more."""
        self.newest_samples.pop(source, None)
        for gauge in (self.source_up, self.source_duration, self.source_last_sample):
            with contextlib.suppress(KeyError):
                gauge.remove(source)


class MetricsSnapshot(NamedTuple):
    """What the configuration, the KPIs, the rules and the journal say at one moment."""

    kpis: Mapping[tuple[str, str], float] = {}
    """(KPI, target) → NaN where a KPI has no value, or several."""
    states: Mapping[tuple[str, str], int] = {}
    """(rule, target)"""
    missing: Mapping[tuple[str, str], int] = {}
    """(rule, target)"""
    alerts: Mapping[tuple[str, str, str, Labels], str] = {}
    """(rule, target, severity, labels) → pending | firing"""
    baselines: Mapping[tuple[str, str], float] = {}
    """(KPI, target)"""
    limits: Mapping[tuple[str, str, str, str], float] = {}
    """(rule, target, severity, lower | upper | equal) → raw"""
    latched: Mapping[str, int] = {}
    incidents: int = 0
    unsent: Mapping[str, int] = {}
    """Channel → messages that wait"""
    oldest_unsent: Mapping[str, int] = {}
    """Channel → when the oldest of them was written, ms"""
    flapping: Mapping[str, int] = {}
    """Source → 1 while it fails and delivers in turn."""


class _SnapshotCollector(Collector):
    """Thousands of rules change every second, and a page is read now and then: it is made when it is read. What a reload
    took away is not on it."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[GaugeMetricFamily]:
        snapshot = self._telemetry.snapshot()
        yield _gauge_family("watchdog_kpi_value", "Last value of a KPI, raw.", ("kpi", "target"), snapshot.kpis)
        yield _gauge_family(
            "watchdog_rule_state", "Held state: 0 ok, 1 warn, 2 crit.", ("rule", "target"), snapshot.states
        )
        yield _gauge_family(
            "watchdog_rule_missing",
            "1 while there is nothing to judge the rule by.",
            ("rule", "target"),
            snapshot.missing,
        )
        alerts = GaugeMetricFamily("ALERTS", "Rules that are pending or firing.")
        for (rule, target, severity, labels), state in snapshot.alerts.items():
            own = {"alertname": rule, "alertstate": state, "severity": severity, "target": target}
            alerts.add_sample("ALERTS", {**dict(labels), **own}, 1)  # as Prometheus itself writes it
        yield alerts
        yield _gauge_family(
            "watchdog_kpi_baseline", "What the KPI is when all is well.", ("kpi", "target"), snapshot.baselines
        )
        limits = GaugeMetricFamily(
            "watchdog_rule_limit", "Limit in force, raw.", labels=["rule", "target", "severity", "bound"]
        )
        for those, limit in snapshot.limits.items():
            limits.add_metric(those, limit)
        yield limits
        yield GaugeMetricFamily("watchdog_incidents_open", "Open incidents.", snapshot.incidents)
        yield _gauge_family(
            "watchdog_notifications_unsent",
            "Messages that wait for a channel.",
            ("channel",),
            {(name,): count for name, count in snapshot.unsent.items()},
        )
        yield _gauge_family(
            "watchdog_notifications_oldest_unsent_timestamp_seconds",
            "When the oldest of them was written.",
            ("channel",),
            {(name,): t / 1_000 for name, t in snapshot.oldest_unsent.items()},
        )
        yield _gauge_family(
            "watchdog_target_latched",
            "1 while repairs stay refused until a person resumes.",
            ("target",),
            {(name,): value for name, value in snapshot.latched.items()},
        )
        yield _gauge_family(
            "watchdog_source_flaps",
            "1 while the source fails and delivers in turn.",
            ("source",),
            {(name,): value for name, value in snapshot.flapping.items()},
        )


def _gauge_family(name: str, help_text: str, labels: Sequence[str], values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for texts, value in values.items():
        family.add_metric(texts, value)
    return family
