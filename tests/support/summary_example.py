"""A day of two bots, as the journal and the samples tell it: what docs/summary.md shows is made of it."""

from __future__ import annotations

from pathlib import Path

from watchdog import config
from watchdog.config import Config
from watchdog.core.model import Message, Millis
from watchdog.journal.runs import Step
from watchdog.journal.sqlite import SqliteJournal
from watchdog.offline.summary.data import SummaryPeriod
from watchdog.offline.summary.make import make_summaries

NOW: Millis = 1_796_108_400_000
"""Tue 1 Dec 2026 08:00 in Berlin."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
MAIN = """\
sources:
  alpha: {type: scrape, url: "http://127.0.0.1:9/metrics", every: 30s}
  beta: {type: scrape, url: "http://127.0.0.1:8/metrics", every: 30s}
state: state
summary: {daily: {at: "08:00"}, timezone: Europe/Berlin}
"""
RULES = """\
targets: {alpha: {sources: [alpha], repo: /srv/alpha}, beta: {sources: [beta]}}
kpis:
  account_equity: {expr: equity, unit: USDT}
  drawdown: {expr: "1 - equity / max_over_time(equity[1h])", unit: ratio, baseline: 2%, needs: equity}
  queue: {expr: queue, unit: count, baseline: 10}
  strategy_return: {expr: strategy_return, unit: ratio}
rules:
  - {name: drawdown, kpi: drawdown, target: all, crit: {above: 10%, for: 1m, plan: rollback}}
  - {name: queue, kpi: queue, target: beta, warn: {above: 20}}
plans:
  rollback:
    kind: repair
    mode: auto
    exhausted: stop
    verify: {quiet: 1m}
    levels: [{name: version, steps: [{do: command, run: ["true"]}]}]
  stop:
    kind: halt
    levels: [{name: stop, steps: [{do: command, run: ["true"]}], verify: {that: [alive == 1], give_up: 30s}}]
"""


class SummaryExample:
    """Incident 1: a version that lost money and was taken back. Incidents 2 to 6: a queue that is long for a minute."""

    def __init__(self, folder: Path, main: str = MAIN, rules: str = RULES) -> None:
        self.folder = folder
        (folder / "rules").mkdir(parents=True, exist_ok=True)
        (folder / "watchdog.yaml").write_text(main)
        (folder / "rules" / "rules.yaml").write_text(rules)
        self.config: Config = config.load(folder, environ={})
        self.journal = SqliteJournal(folder / "journal.db", durable=False)
        self.samples = folder / "samples.csv"
        for target in self.config.targets:
            self.journal.targets.get_state(target, NOW - 60 * DAY)

    def tell_night(self) -> None:
        """Into the journal."""
        opened = NOW - 10 * HOUR
        with self.journal.transaction() as tx:
            number = tx.incidents.open_incident("alpha", "crit", "drawdown 12.4 % is above 10 %", opened)
            tx.incidents.add_trip(number, "drawdown", "crit", (), "drawdown 12.4 % is above 10 %", "rollback", opened)
            run = tx.runs.queue_run(
                incident=number,
                target="alpha",
                plan="rollback",
                kind="repair",
                by="rule drawdown",
                text='{"levels": [{"name": "version"}]}',
                place="{}",
                now=opened,
            )
            step = Step(run, "level", 0, 0, "revert", "started", {}, "", opened + 1_200, None, None, None)
            tx.runs.start_step(step)
            tx.runs.end_step(step.id, "done", "", opened + 9_000)
            tx.timeline.add_event("watch", "quiet", opened + 4 * MINUTE, incident=number, run=run, target="alpha")
            tx.incidents.clear_trip(number, "drawdown", "crit", (), opened + 3 * MINUTE)
            tx.runs.update_run(run, status="ended", outcome="proven", ended=opened + 9 * MINUTE)
            tx.incidents.acknowledge(number, "ann", opened + 5 * MINUTE)
            tx.incidents.close_incident(number, opened + 10 * MINUTE)
        for n in range(5):
            self.trip_for_nothing("queue", "beta", "warn", NOW - (n + 2) * 2 * HOUR)
        with self.journal.transaction() as tx:
            tx.targets.update_target("beta", latched=NOW - 3 * HOUR, latch_why="somebody looks at the exchange")
            run = tx.runs.queue_run(
                incident=None,
                target="beta",
                plan="rollback",
                kind="repair",
                by="rule drawdown",
                text="{}",
                place="{}",
                now=NOW - 5 * MINUTE,
            )
            tx.runs.update_run(run, approve_by=NOW + 10 * MINUTE)
            tx.suppressions.add_suppression(
                "silence", "queue", NOW + 2 * HOUR, "bob: the exchange migrates", NOW - HOUR
            )

    def trip_for_nothing(self, rule: str, target: str, level: str, t: Millis) -> None:
        with self.journal.transaction() as tx:
            number = tx.incidents.open_incident(target, "warn", f"{rule} tripped", t)
            tx.incidents.add_trip(number, rule, level, (), f"{rule} tripped", None, t)
            tx.incidents.clear_trip(number, rule, level, (), t + MINUTE)
            tx.incidents.close_incident(number, t + 2 * MINUTE)

    def tell_samples(self, *, without: tuple[Millis, Millis] = (0, 0)) -> None:
        """A read each half minute; none in the span `without`."""
        names = [
            *(f'{name}{{source="{bot}",target="{bot}"}}' for bot in ("alpha", "beta") for name in ("up", "equity")),
            *(f'strategy_return{{source="alpha",strategy="{name}",target="alpha"}}' for name in ("grid", "trend")),
            'trade_loss_sum_total{source="alpha",symbol="BTC",target="alpha"}',
            'queue{source="beta",target="beta"}',
        ]
        lines = ["time," + ",".join('"' + name.replace('"', '""') + '"' for name in names)]
        opened, losses = NOW - 10 * HOUR, 0.0
        for t in range(NOW - DAY, NOW + 1, MINUTE // 2):
            if without[0] <= t < without[1]:
                continue
            ago = opened - t
            share = 0.126 if -3 * MINUTE < ago <= 0 else 0.06 if 0 < ago <= 2 * MINUTE else 0.0
            equity = (10_000 + (t - NOW + DAY) / DAY * 120) * (1 - share)
            losses += 180.0 if t == opened else 0.01
            long = any(0 <= t - (NOW - (n + 2) * 2 * HOUR) < MINUTE for n in range(5))
            beta_up = 0 if NOW - 4 * HOUR <= t < NOW - 4 * HOUR + 10 * MINUTE else 1
            row = [1, equity, beta_up, 5_000, 0.031, -0.012, losses, 22 if long else 9]
            lines.append(f"{t / 1_000}," + ",".join(map(str, row)))
        self.samples.write_text("\n".join(lines) + "\n")

    def messages(self, kind: str = "daily", since: Millis = NOW - DAY, *, late: bool = False) -> list[Message]:
        """The same summary, with more in it each time."""
        sources = {name: {"up": True, "error": None} for name in self.config.sources}
        period = SummaryPeriod(kind, since, NOW, "Europe/Berlin")  # type: ignore[arg-type]
        return list(make_summaries(self.config, self.journal, self.samples, sources, period, lambda: late))

    def text(self) -> str:
        """As it stands in docs/summary.md."""
        message = self.messages()[-1]
        return "\n".join([message.title, *message.lines])
