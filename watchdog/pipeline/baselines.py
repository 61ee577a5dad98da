"""Baselines that move: values are taken while all is well, learned from, captured for people, and kept in the journal.

While anything of a KPI's targets is tripped, a plan is at work there, or it is latched, nothing is taken and nothing
learned: the baseline stays what it was when the night began.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from watchdog.config import Config
from watchdog.config.problem import unknown
from watchdog.journal import Journal, incidents, runs
from watchdog.journal import baselines as records
from watchdog.journal.baselines import Baseline
from watchdog.model import Millis
from watchdog.rules import Check, Kpi, Learn, Normal, Reading, believed, learned, middle
from watchdog.rules import check as compile_check
from watchdog.rules.baseline import Point
from watchdog.telemetry import log
from watchdog.units import show, show_duration

REFRESH: Millis = 5 * 60_000
"""ms between two looks at what was learned."""
_SAY: Millis = 60_000
"""ms between two looks at how far the learning is."""
_WRITE: Millis = 10_000
"""ms of values that a death may cost."""

Read = Callable[[str, str], Reading]
"""(KPI, target) → what it is now."""


@dataclass
class _Learning:
    asked: str
    points: list[Point]
    normal: Normal
    unwritten: list[Point] = field(default_factory=list)
    next_point: Millis = 0
    next_look: Millis = 0
    next_write: Millis = 0


@dataclass
class _Capture:
    until: Millis
    span: Millis
    step: Millis
    who: str
    next_point: Millis
    values: list[float] = field(default_factory=list)
    why: str = "no value was read"


def asked(kpi: Kpi) -> str:
    """Digest of what is evaluated."""
    return hashlib.sha256(repr((kpi.expr, kpi.needs, kpi.since, kpi.unit)).encode()).hexdigest()[:16]


class Baselines:
    """All moving baselines of a configuration."""

    def __init__(self, config: Config, journal: Journal, now: Millis) -> None:
        self._config = config
        self._journal = journal
        self._moving = {name: kpi for name, kpi in config.kpis.items() if kpi.moving}
        self._kept = {(each.kpi, each.kind): each for each in records.known(journal)} if self._moving else {}
        self._targets: dict[str, list[str]] = {name: [] for name in self._moving}
        for rule in config.rules.values():
            if rule.kpi in self._moving and rule.target not in self._targets[rule.kpi]:
                self._targets[rule.kpi].append(rule.target)
        self._learning: dict[str, _Learning] = {}
        for name, kpi in self._moving.items():
            if isinstance(kpi.baseline, Learn):
                digest = asked(kpi)
                points = records.points(journal, name, digest)
                before = self._kept.get((name, "learned"))
                known = before is not None and before.asked == digest
                normal = Normal(before.value, "") if before and known else learned(kpi.baseline, points, now)
                self._learning[name] = _Learning(digest, points, normal)
        self._captures: dict[str, _Capture] = {}

    def carry(self, before: Baselines) -> None:
        """Over a reload: captures go on where their KPI is what it was."""
        for name, capture in before._captures.items():
            if name in self._moving and self._moving[name] == before._moving[name]:
                self._captures[name] = capture

    def normal(self, name: str) -> Normal:
        """What is known of a KPI's moving baseline."""
        if name in self._learning:
            return self._learning[name].normal
        captured = self._kept.get((name, "captured"))
        if captured is None:
            return Normal(None, f"not captured yet: trading-watchdog baseline capture {name}")
        if captured.asked != asked(self._moving[name]):
            return Normal(None, f"captured of another expression: trading-watchdog baseline capture {name}")
        return Normal(captured.value, "")

    def checks(self) -> tuple[Check, ...]:
        """The configuration's checks; those that lean on a moving baseline, as it is now."""
        return tuple(
            check
            if check.kpi not in self._moving
            else compile_check(
                self._config.rules[check.rule], check.level, self._moving[check.kpi], self.normal(check.kpi)
            )
            or check
            for check in self._config.checks
        )

    def tend(self, read: Read, fires: Callable[[str], bool], now: Millis) -> set[str]:
        """Takes what is due. `fires`: whether anything of a target does. Returns the KPIs whose baseline has changed.

        A journal that cannot be written to costs values, which come again; it must not keep what follows from acting.
        """
        changed = set()
        try:
            for name, state in self._learning.items():
                if not (now < state.next_point <= now + self._step(name)) and self._learn(
                    name, state, read, fires, now
                ):
                    changed.add(name)
            for name, capture in list(self._captures.items()):
                if now >= capture.next_point and self._capture(name, capture, read, fires, now):
                    changed.add(name)
        except sqlite3.Error as error:
            log.warning("baselines: the journal cannot be written: %s", error)
        return changed

    def _step(self, name: str) -> Millis:
        learn = self._moving[name].baseline
        return learn.step if isinstance(learn, Learn) else 0

    def _learn(self, name: str, state: _Learning, read: Read, fires: Callable[[str], bool], now: Millis) -> bool:
        """Whether the baseline, or what is said of its learning, is another one now."""
        kpi = self._moving[name]
        assert isinstance(kpi.baseline, Learn)
        state.next_point = (now // kpi.baseline.step + 1) * kpi.baseline.step
        if self._frozen(name, fires, now) is not None:
            return False
        values, _ = believed(name, kpi, self._read(name, read), now)
        if values:
            state.unwritten.append((now, middle(values)))
            state.points.append(state.unwritten[-1])
        if state.unwritten and not (now < state.next_write <= now + _WRITE):
            state.next_write = now + _WRITE
            before = now - kpi.baseline.offset - kpi.baseline.learn - kpi.baseline.step
            with self._journal.write() as db:
                records.take(db, name, state.asked, state.unwritten, before)
            state.unwritten = []
            state.points = [point for point in state.points if before <= point[0] <= now]
        if now < state.next_look <= now + REFRESH:
            return False
        state.next_look = now + (_SAY if state.normal.value is None else REFRESH)
        normal = learned(kpi.baseline, state.points, now)
        if normal == state.normal or (normal.value is None and state.normal.value is not None):
            return False  # what was learned once stays until there is enough to learn it anew
        if normal.value is not None:
            self._keep(
                Baseline(
                    name,
                    "learned",
                    state.asked,
                    normal.value,
                    now,
                    len(state.points),
                    kpi.baseline.learn,
                    "",
                    self._head(name, now),
                )
            )
        state.normal = normal
        return True

    def _read(self, name: str, read: Read) -> Reading:
        targets = self._targets[name] or list(self._config.targets)
        return read(name, targets[0]) if targets else Reading({}, error="there is no target")

    def _frozen(self, name: str, fires: Callable[[str], bool], now: Millis) -> str | None:
        """Why nothing is taken at the moment."""
        for target in self._targets[name]:
            if fires(target):
                return f"a rule of {target} fires"
            if at_work := runs.unended(self._journal, target):
                return f"plan {at_work[0].plan} is at work on {target}"
            if incidents.standing(self._journal, target, now).latched is not None:
                return f"{target} is latched"
        return None

    def _head(self, name: str, now: Millis) -> str | None:
        heads = [incidents.standing(self._journal, target, now).head for target in self._targets[name]]
        return next((head for head in heads if head), None)

    def _keep(self, baseline: Baseline) -> None:
        with self._journal.write() as db:
            records.keep(db, baseline)
        self._kept[baseline.kpi, baseline.kind] = baseline

    # ─ captures ─

    def ask(
        self, names: Iterable[str], span: Millis, who: str, fires: Callable[[str], bool], now: Millis
    ) -> tuple[bool, str]:
        """Begins to capture; (True, the KPIs) or (False, why not)."""
        captured = [name for name, kpi in self._moving.items() if kpi.baseline == "captured"]
        wanted = list(dict.fromkeys(names)) or captured
        if not wanted:
            return False, "no KPI says baseline: captured — say it where the baseline is to be captured"
        for name in wanted:
            if name not in self._config.kpis:
                return False, unknown("KPI", name, self._config.kpis)
            if name not in captured:
                return False, f"the baseline of {name} is not captured: say baseline: captured in its file first"
            if why := self._frozen(name, fires, now):
                return False, f"not now: {why}, and what is so now is not how it is when all is well"
        step = max(1_000, span // 600)
        for name in wanted:
            self._captures[name] = _Capture(now + span, span, step, who, now)
        return True, ", ".join(wanted)

    def _capture(self, name: str, capture: _Capture, read: Read, fires: Callable[[str], bool], now: Millis) -> bool:
        kpi = self._moving[name]
        capture.next_point = now + capture.step
        if why := self._frozen(name, fires, now):
            self._tell(name, f"not captured: {why}", now)
            return False
        values, why = believed(name, kpi, self._read(name, read), now)
        capture.values += [middle(values)] if values else []
        capture.why = why or capture.why
        if now < capture.until:
            return False
        if not capture.values:
            self._tell(name, f"not captured: {capture.why}", now)
            return False
        value, samples = middle(capture.values), len(capture.values)
        self._keep(
            Baseline(
                name, "captured", asked(kpi), value, now, samples, capture.span, capture.who, self._head(name, now)
            )
        )
        over = f" over {show_duration(capture.span)}" if capture.span else ""
        count = "1 sample" if samples == 1 else f"{samples} samples"
        self._tell(name, f"captured {show(value, kpi.unit)} from {count}{over} for {capture.who}", now)
        return True

    def _tell(self, name: str, text: str, now: Millis) -> None:
        """One line, for the log and for whoever waits on the command line."""
        del self._captures[name]
        log.info("baseline of %s: %s", name, text)
        with self._journal.write() as db:
            incidents.event(db, "baseline", f"{name}: {text}", now)
