"""Our own rules on the samples of a test: the daemon's pipeline, with the test's time for a clock."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from watchdog.config import Config
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.telemetry import Telemetry
from watchdog.journal import open_journal
from watchdog.journal.baselines import Baseline
from watchdog.offline.ruletest.notation import SeriesValue
from watchdog.pipeline.pipeline import Pipeline
from watchdog.rules.state_machine import MachineState
from watchdog.tsdb.labels import METRIC_NAME_LABEL, SOURCE_LABEL

RuleState = Literal["ok", "pending", "warn", "crit", "nodata"]
RULE_STATES: tuple[RuleState, ...] = ("ok", "pending", "warn", "crit", "nodata")

DEFAULT_SOURCE = "test"
"""Source of the series that say none."""


@dataclass(frozen=True, slots=True)
class _StubSource:
    """Stands for a source: all that the pipeline asks of one is how often it is read."""

    every: Millis


class RuleRunner:
    """The rules of a configuration, and what they have made of the samples so far."""

    def __init__(
        self,
        config: Config,
        rules: Collection[str],
        series: Mapping[Labels, Sequence[SeriesValue]],
        interval: Millis,
        baselines: Sequence[Baseline] = (),
    ) -> None:
        """`rules`: the ones to judge; the others are asleep, so that no test must feed them. `baselines`: those that the journal
        holds as it begins; learned ones are learned on."""
        self._series = _group_by_source(series)
        self._interval = interval
        wanted = {name: rule for name, rule in config.rules.items() if name in rules}
        kpis = {rule.kpi for rule in wanted.values()}
        feeds: Any = {source: _StubSource(interval) for source in self._series}
        self._config = replace(
            config,
            sources=feeds,
            channels={},
            rules=wanted,
            rules_by_target={key: rule for key, rule in config.rules_by_target.items() if key[0] in wanted},
            checks=tuple(check for check in config.checks if check.rule in wanted),
            kpis={name: kpi for name, kpi in config.kpis.items() if name in kpis},
        )
        self._folder = tempfile.TemporaryDirectory(prefix="trading-watchdog-test-")
        self._journal = open_journal(Path(self._folder.name), durable=False)
        with self._journal.transaction() as tx:
            for baseline in baselines:
                tx.baselines.save_baseline(baseline)
        # Awake just before the first sample, which is then newer than the start.
        self._pipeline = Pipeline(self._config, self._journal, Telemetry("test"), -1)

    def close(self) -> None:
        self._journal.close()
        self._folder.cleanup()

    def run_until(self, end: Millis, tick: Millis, stops: Collection[Millis]) -> Iterator[Millis]:
        """Lets time go on to `end`, and stops at each of `stops`: samples come in, rounds are judged."""
        longest = max((len(values) for series in self._series.values() for _, values in series), default=0)
        reads = {i * self._interval for i in range(longest)}
        for t in sorted({at for at in reads if at <= end} | set(range(0, end + 1, tick)) | set(stops)):
            delivered = self._feed_samples(t) if t in reads else []
            if t % tick == 0:
                self._pipeline.judge(t)  # sees what was brought, too
            else:
                for source in delivered:
                    self._pipeline.judge(t, source)
            if t in stops:
                yield t

    def _feed_samples(self, t: Millis) -> list[str]:
        """Returns the sources that had something to say."""
        at, delivered = t // self._interval, []
        for source, series in self._series.items():
            values_at = [(key, values[at] if at < len(values) else None) for key, values in series]
            samples = [
                Sample(
                    dict(key)[METRIC_NAME_LABEL],
                    tuple(pair for pair in key if pair[0] not in (METRIC_NAME_LABEL, SOURCE_LABEL)),
                    t,
                    value,
                )
                for key, value in values_at
                if isinstance(value, float)
            ]
            if samples:
                self._pipeline.add_samples(source, samples, t)
            elif any(value == "stale" for _, value in values_at):
                self._pipeline.mark_source_down(source, t)
            else:
                continue
            delivered.append(source)
        return delivered

    def state(self, rule: str, labels: Labels) -> tuple[RuleState, str]:
        """The worst state of the rule where the labels are these (and any others), and why."""
        mine = {key: machine for key, machine in self._pipeline.machines.items() if key.rule == rule}
        chosen = {key: machine for key, machine in mine.items() if set(labels) <= set(key.labels)}
        known = self._config.rules[rule]
        if not chosen and any(threshold is not None and threshold.expr for threshold in (known.warn, known.crit)):
            # A condition has no state for what it does not name: then the one without labels speaks, while there is one, …
            chosen = {key: machine for key, machine in mine.items() if not key.labels}
            if not chosen and any(machine.outcome in ("ok", "bad") for machine in mine.values()):
                return "ok", "the condition does not name it"  # … or else that it names others
        states = [(_machine_state(key.level, machine), machine.reason) for key, machine in chosen.items()]
        return max(states, key=lambda one: _STATE_ORDER.index(one[0]), default=("nodata", "nothing was judged"))

    def last_plan(self, rule: str) -> str | None:
        """The plan that the rule has started last."""
        started = [
            run.plan
            for target in self._config.targets
            for run in self._journal.runs.list_recent_automatic(target, -1)
            if run.by == f"rule {rule}"
        ]
        return started[-1] if started else None


_STATE_ORDER: tuple[RuleState, ...] = ("ok", "nodata", "pending", "warn", "crit")


def _group_by_source(
    given: Mapping[Labels, Sequence[SeriesValue]],
) -> dict[str, list[tuple[Labels, Sequence[SeriesValue]]]]:
    sources: dict[str, list[tuple[Labels, Sequence[SeriesValue]]]] = {}
    for key, values in given.items():
        sources.setdefault(dict(key).get("source", DEFAULT_SOURCE), []).append((key, values))
    return sources


def _machine_state(level: str, machine: MachineState) -> RuleState:
    if machine.is_firing:
        return "crit" if level == "crit" else "warn"
    if machine.phase == "pending":
        return "pending"
    return "nodata" if machine.outcome in ("nodata", "error") else "ok"
