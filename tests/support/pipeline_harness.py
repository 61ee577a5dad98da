"""The pipeline without a daemon: real configuration and journal, samples by hand, a second a round."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchdog import config
from watchdog.app.requests import RequestHandler
from watchdog.core.executor import DirectExecutor
from watchdog.core.model import Labels, Message, Millis, Sample
from watchdog.core.telemetry import Telemetry
from watchdog.journal import incidents
from watchdog.journal.runs import PlanRun, RunOutcome
from watchdog.journal.sqlite import SqliteJournal
from watchdog.pipeline.check_tracker import machine_configs_of_rules, machine_configs_of_trips
from watchdog.pipeline.pipeline import Pipeline
from watchdog.plans.after_halt import list_latched_runs, trips_to_repair
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.standing import describe_standing, find_standing
from watchdog.rules.state_machine import MachineConfig, StateKey

START = 1_700_000_000_000
SECOND = 1_000
MINUTE = 60 * SECOND

MAIN_YAML = """\
sources:
  bot: {type: scrape, url: "http://127.0.0.1:1/metrics", every: 1s}
  host: {type: host, every: 1s, disks: [/]}
channels:
  chat: {type: slack, token: xoxb-12345678, channel: C0123456, from: info}
  pager: {type: slack, token: xoxb-12345678, channel: C0123457, from: crit}
state: state
"""
RULES_YAML = """\
targets:
  bot: {repo: /srv/bot, cooldown: 1m, settling: 10m, budget: [2 per 1h]}
kpis:
  errors: {expr: error_ratio, unit: ratio}
  drawdown: {expr: "1 - equity / max_over_time(equity[1h])", unit: ratio, since: resume}
  age: {expr: tick_age, unit: seconds}
  pairs: {expr: "100 * sum by (side) (left) / sum by (side) (right)"}
rules:
  - {name: errors, kpi: errors, target: bot, warn: {above: 5%}, crit: {above: 10%, for: 2s, plan: ladder}}
  - {name: drawdown, kpi: drawdown, target: bot, crit: {at_least: 10%, plan: halt}}
  - {name: no-ticks, kpi: age, target: bot, crit: {above: 60s}, if_missing: {after: 10s, then: crit},
     only: {when: market_open == 1}}
plans:
  halt:
    kind: halt
    levels:
      - {name: no-entries, steps: [{do: flag, file: config.py, set: {TRADING: false}}], verify: {that: [alive == 1]}}
  ladder:
    kind: repair
    mode: auto
    exhausted: halt
    verify: {quiet: 1s, watch: 10s}
    levels:
      - {name: feature, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}
      - {name: version, steps: [{do: flag, file: config.py, set: {MODEL: 1}}]}
"""


class PipelineHarness:
    """A pipeline over a real journal; a second a round. Plans are queued here and carried out by nobody: `end` does."""

    def __init__(self, folder: Path, rules: str = RULES_YAML, main: str = MAIN_YAML, *, now: Millis = START) -> None:
        self.folder = folder
        self.write_config(rules, main)
        self.now = now
        self.values: dict[str, float] = {
            "error_ratio": 0.01,
            "equity": 1_000,
            "tick_age": 1,
            "market_open": 1,
            "alive": 1,
        }
        self.labelled_series: list[tuple[str, Labels, float]] = []
        self.lost_sources: set[str] = set()
        self.removed = ""
        self.open()

    def write_config(self, rules: str, main: str = MAIN_YAML) -> None:
        (self.folder / "rules").mkdir(parents=True, exist_ok=True)
        (self.folder / "watchdog.yaml").write_text(main)
        (self.folder / "rules" / "rules.yaml").write_text(rules)
        self.config = config.load(self.folder, environ={})

    def open(self) -> None:
        self.journal = SqliteJournal(self.folder / "journal.db", durable=False)
        self.pipeline = Pipeline(
            self.config,
            self.journal,
            Telemetry("test"),
            self.now,
            describe_left=self.describe_left,
            removed=self.removed,
        )
        self.requests = RequestHandler(self.pipeline, self.journal)

    def describe_left(self, incident: incidents.Incident) -> list[str]:
        """Looked at there and then."""
        target = self.config.targets.get(incident.target)
        standing = find_standing(self.journal, incident.target, target, DirectExecutor(), incident.id)
        return [f"still {line}" for line in describe_standing(standing, lambda one: one.by_hand)]

    def set_clock(self, step: Millis) -> None:
        """Somebody sets the machine's clock."""
        self.now += step
        self.pipeline.follow_clock_step(step, self.now)

    def restart(self, downtime: Millis = SECOND) -> None:
        """kill -9 and a new process."""
        self.journal.close()
        self.now += downtime
        self.open()

    def reload(self, rules: str, main: str = MAIN_YAML) -> None:
        self.write_config(rules, main)
        self.pipeline.apply_config(self.config, self.now)

    def round(self, **values: float) -> None:
        """A second goes by, every source is read, and all is judged."""
        self.values |= values
        self.now += SECOND
        samples = [Sample(name, (), self.now, value) for name, value in self.values.items() if value == value]
        samples += [Sample(name, labels, self.now, value) for name, labels, value in self.labelled_series]
        for source, read in {"bot": samples, "host": [Sample("host_load1", (), self.now, 0.1)]}.items():
            if source in self.lost_sources:
                self.pipeline.mark_source_down(source, self.now)
            else:
                self.pipeline.add_samples(source, read, self.now)
            self.pipeline.judge(self.now, source)
        self.pipeline.judge(self.now)

    def rounds(self, number: int, **values: float) -> None:
        for _ in range(number):
            self.round(**values)

    def end_run(self, run: PlanRun, outcome: RunOutcome, *, level: int = 0, acted_at: Millis | None = None) -> None:
        """As the rollback leaves it."""
        at = self.now if acted_at is None else acted_at
        with self.journal.transaction() as tx:
            tx.runs.update_run(run.id, status="ended", outcome=outcome, level=level, acted=at, ended=self.now)

    @property
    def runs(self) -> list[PlanRun]:
        return [self.journal.runs.get_run(row[0]) for row in self.journal.query("SELECT id FROM run ORDER BY id")]

    @property
    def incident(self) -> incidents.Incident | None:
        return self.journal.incidents.find_open("bot")

    def message_titles(self, channel: str = "chat") -> list[str]:
        rows = self.journal.query("SELECT title FROM message WHERE channel = ? ORDER BY id", channel)
        return [row["title"] for row in rows]

    def refusal_reasons(self) -> list[str]:
        """Why plans are not started, as people were told: by themselves, or with what tripped."""
        rows = self.journal.query(
            "SELECT title, lines FROM message WHERE channel = 'chat' AND title LIKE '%is not started%' ORDER BY id"
        )
        said = [(row["title"], json.loads(row["lines"])) for row in rows]
        return [
            next((line.partition(" is not started: ")[2] for line in lines if " is not started: " in line), lines[0])
            for _, lines in said
        ]

    def is_firing(self, rule: str) -> bool:
        return any(machine.is_firing for key, machine in self.pipeline.machines.items() if key.rule == rule)

    def make_context(self, offload: Callable[..., Any], **overrides: Any) -> RollbackContext:
        """For a rollback that carries out what is queued here, joined to the pipeline as the daemon joins them."""

        def queue_halt(target: str, plan: str, by: str, incident: int | None) -> bool:
            with self.journal.transaction() as tx:
                self.pipeline.incident_manager.queue_run(tx, target, plan, by, self.now, incident=incident)
            return True

        def notify(message: Message) -> None:
            with self.journal.transaction() as tx:
                self.pipeline.incident_manager.notify(tx, message, self.now)

        def tripped(incident: int, target: str) -> dict[StateKey, MachineConfig]:
            runs = list_latched_runs(self.journal, target, self.now)
            trips = trips_to_repair(self.journal.incidents.list_trips(incident), runs)
            return machine_configs_of_trips(self.config.checks, trips, target, self.pipeline.machines)

        def still_needed(run: PlanRun) -> bool | None:
            if run.incident is None or not run.by.startswith("rule "):
                return True
            return self.pipeline.still_firing(tripped(run.incident, run.target))

        return RollbackContext(
            journal=self.journal,
            telemetry=self.pipeline.telemetry,
            clock=lambda: self.now,
            offload=offload,
            incident_machine_configs=tripped,
            evidence=self.pipeline.gather_evidence,
            still_needed=still_needed,
            queue_halt=queue_halt,
            notify=notify,
            list_label_sets=self.pipeline.list_label_sets,
            mute_rules=self.pipeline.mute_rules,
            close_if_over=lambda run: self.pipeline.close_incident_of(run, self.now),
            rule_machine_configs=lambda target, names: machine_configs_of_rules(
                self.config.checks, self.pipeline.machines, target, names
            ),
            hold_reason=lambda target: self.pipeline.incident_manager.hold_reason(target, self.now),
            **overrides,
        )
