"""Baselines that move: values are taken while all is well, learned from, captured for people, and kept in the journal.

While anything of a KPI's targets is tripped, a plan is at work there, or it is latched, nothing is taken and nothing
learned: the baseline stays what it was when the trouble began.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.core.units import format_duration, format_value
from watchdog.documents.problems import unknown_name
from watchdog.journal.baselines import Baseline
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.storage import Journal
from watchdog.rules import (
    BaselineState,
    Check,
    Kpi,
    Learn,
    Reading,
    central_value,
    compile_check,
    learn_baseline,
    trusted_values,
)
from watchdog.rules.baseline import BaselinePoint

LEARN_INTERVAL: Millis = 5 * 60_000
"""ms from one computation of what was learned to the next."""
_PROGRESS_INTERVAL: Millis = 60_000
"""ms from one check of how far the learning is to the next."""
_WRITE_INTERVAL: Millis = 10_000
"""ms of values that a death may cost."""

EvaluateKpi = Callable[[str, str], Reading]
"""(KPI, target) → what it is now."""


@dataclass
class _Learning:
    digest: str
    points: list[BaselinePoint]
    current: BaselineState
    unwritten: list[BaselinePoint] = field(default_factory=list)
    next_point: Millis = 0
    next_update: Millis = 0
    next_write: Millis = 0


@dataclass
class _Capture:
    until: Millis
    span: Millis
    step: Millis
    who: str
    next_point: Millis
    values: list[float] = field(default_factory=list)
    last_error: str = "no value was read"


def expression_digest(kpi: Kpi) -> str:
    """Digest of what is evaluated."""
    return hashlib.sha256(repr((kpi.expr, kpi.needs, kpi.since, kpi.unit)).encode()).hexdigest()[:16]


class BaselineTracker:
    """All moving baselines of a configuration."""

    def __init__(self, config: Config, journal: Journal, now: Millis) -> None:
        self._config = config
        self._journal = journal
        self._moving = {name: kpi for name, kpi in config.kpis.items() if kpi.has_dynamic_baseline}
        self._saved = (
            {(each.kpi, each.kind): each for each in journal.baselines.list_baselines()} if self._moving else {}
        )
        self._targets: dict[str, list[str]] = {name: [] for name in self._moving}
        for rule in config.rules.values():
            if rule.kpi in self._moving and rule.target not in self._targets[rule.kpi]:
                self._targets[rule.kpi].append(rule.target)
        self._learning: dict[str, _Learning] = {}
        for name, kpi in self._moving.items():
            if isinstance(kpi.baseline, Learn):
                digest = expression_digest(kpi)
                points = journal.baselines.list_points(name, digest)
                before = self._saved.get((name, "learned"))
                known = before is not None and before.asked == digest
                normal = (
                    BaselineState(before.value, "") if before and known else learn_baseline(kpi.baseline, points, now)
                )
                self._learning[name] = _Learning(digest, points, normal)
        self._captures: dict[str, _Capture] = {}

    def carry_over(self, previous: BaselineTracker) -> None:
        """Over a reload: captures go on where their KPI is what it was."""
        for name, capture in previous._captures.items():
            if name in self._moving and self._moving[name] == previous._moving[name]:
                self._captures[name] = capture

    def current(self, name: str) -> BaselineState:
        """What is known of a KPI's moving baseline."""
        if name in self._learning:
            return self._learning[name].current
        captured = self._saved.get((name, "captured"))
        if captured is None:
            return BaselineState(None, f"not captured yet: trading-watchdog baseline capture {name}")
        if captured.asked != expression_digest(self._moving[name]):
            return BaselineState(None, f"captured of another expression: trading-watchdog baseline capture {name}")
        return BaselineState(captured.value, "")

    def checks(self) -> tuple[Check, ...]:
        """The configuration's checks; those that lean on a moving baseline, as it is now."""
        return tuple(
            check
            if check.kpi not in self._moving
            else compile_check(
                self._config.rules[check.rule], check.level, self._moving[check.kpi], self.current(check.kpi)
            )
            or check
            for check in self._config.checks
        )

    def update(self, evaluate: EvaluateKpi, fires: Callable[[str], bool], now: Millis) -> set[str]:
        """Takes what is due. `fires`: whether anything of a target does. Returns the KPIs whose baseline has changed.

        A journal that cannot be written to costs values, which come again; it must not keep what follows from acting.
        """
        changed = set()
        try:
            for name, state in self._learning.items():
                if not (now < state.next_point <= now + self._step(name)) and self._learn(
                    name, state, evaluate, fires, now
                ):
                    changed.add(name)
            for name, capture in list(self._captures.items()):
                if now >= capture.next_point and self._capture(name, capture, evaluate, fires, now):
                    changed.add(name)
        except JournalUnavailableError as error:
            log.warning("baselines: the journal cannot be written: %s", error)
        return changed

    def _step(self, name: str) -> Millis:
        learn = self._moving[name].baseline
        return learn.step if isinstance(learn, Learn) else 0

    def _learn(
        self, name: str, state: _Learning, evaluate: EvaluateKpi, fires: Callable[[str], bool], now: Millis
    ) -> bool:
        """Whether the baseline, or what is said of its learning, is another one now."""
        kpi = self._moving[name]
        assert isinstance(kpi.baseline, Learn)
        state.next_point = (now // kpi.baseline.step + 1) * kpi.baseline.step
        if self._frozen_reason(name, fires, now) is not None:
            return False
        values, _ = trusted_values(name, kpi, self._evaluate(name, evaluate), now)
        if values:
            state.unwritten.append((now, central_value(values)))
            state.points.append(state.unwritten[-1])
        if state.unwritten and not (now < state.next_write <= now + _WRITE_INTERVAL):
            state.next_write = now + _WRITE_INTERVAL
            before = now - kpi.baseline.offset - kpi.baseline.learn - kpi.baseline.step
            with self._journal.transaction() as tx:
                tx.baselines.save_points(name, state.digest, state.unwritten, before)
            state.unwritten = []
            state.points = [point for point in state.points if before <= point[0] <= now]
        if now < state.next_update <= now + LEARN_INTERVAL:
            return False
        state.next_update = now + (_PROGRESS_INTERVAL if state.current.value is None else LEARN_INTERVAL)
        normal = learn_baseline(kpi.baseline, state.points, now)
        if normal == state.current or (normal.value is None and state.current.value is not None):
            return False  # what was learned once stays until there is enough to learn it anew
        if normal.value is not None:
            self._save(
                Baseline(
                    name,
                    "learned",
                    state.digest,
                    normal.value,
                    now,
                    len(state.points),
                    kpi.baseline.learn,
                    "",
                    self._head_commit(name, now),
                )
            )
        state.current = normal
        return True

    def _evaluate(self, name: str, evaluate: EvaluateKpi) -> Reading:
        targets = self._targets[name] or list(self._config.targets)
        return evaluate(name, targets[0]) if targets else Reading({}, error="there is no target")

    def _frozen_reason(self, name: str, fires: Callable[[str], bool], now: Millis) -> str | None:
        """Why nothing is taken at the moment."""
        for target in self._targets[name]:
            if fires(target):
                return f"a rule of {target} fires"
            if at_work := self._journal.runs.list_unfinished(target):
                return f"plan {at_work[0].plan} is at work on {target}"
            if self._journal.targets.get_state(target, now).latched is not None:
                return f"{target} is latched"
        return None

    def _head_commit(self, name: str, now: Millis) -> str | None:
        heads = [self._journal.targets.get_state(target, now).head for target in self._targets[name]]
        return next((head for head in heads if head), None)

    def _save(self, baseline: Baseline) -> None:
        with self._journal.transaction() as tx:
            tx.baselines.save_baseline(baseline)
        self._saved[baseline.kpi, baseline.kind] = baseline

    # ─ captures ─

    def start_capture(
        self, names: Iterable[str], span: Millis, who: str, fires: Callable[[str], bool], now: Millis
    ) -> tuple[bool, str]:
        """Begins to capture; (True, the KPIs) or (False, why not)."""
        capturable = [name for name, kpi in self._moving.items() if kpi.baseline == "captured"]
        wanted = list(dict.fromkeys(names)) or capturable
        if not wanted:
            return False, "no KPI says baseline: captured — say it where the baseline is to be captured"
        for name in wanted:
            if name not in self._config.kpis:
                return False, unknown_name("KPI", name, self._config.kpis)
            if name not in capturable:
                return False, f"the baseline of {name} is not captured: say baseline: captured in its file first"
            if why := self._frozen_reason(name, fires, now):
                return False, f"not now: {why}, and what is so now is not how it is when all is well"
        step = max(1_000, span // 600)
        for name in wanted:
            self._captures[name] = _Capture(now + span, span, step, who, now)
        return True, ", ".join(wanted)

    def _capture(
        self, name: str, capture: _Capture, evaluate: EvaluateKpi, fires: Callable[[str], bool], now: Millis
    ) -> bool:
        kpi = self._moving[name]
        capture.next_point = now + capture.step
        if why := self._frozen_reason(name, fires, now):
            self._end_capture(name, f"not captured: {why}", now)
            return False
        values, why = trusted_values(name, kpi, self._evaluate(name, evaluate), now)
        capture.values += [central_value(values)] if values else []
        capture.last_error = why or capture.last_error
        if now < capture.until:
            return False
        if not capture.values:
            self._end_capture(name, f"not captured: {capture.last_error}", now)
            return False
        value, samples = central_value(capture.values), len(capture.values)
        self._save(
            Baseline(
                name,
                "captured",
                expression_digest(kpi),
                value,
                now,
                samples,
                capture.span,
                capture.who,
                self._head_commit(name, now),
            )
        )
        over = f" over {format_duration(capture.span)}" if capture.span else ""
        count = "1 sample" if samples == 1 else f"{samples} samples"
        self._end_capture(name, f"captured {format_value(value, kpi.unit)} from {count}{over} for {capture.who}", now)
        return True

    def _end_capture(self, name: str, text: str, now: Millis) -> None:
        """One line, for the log and for whoever waits on the command line."""
        del self._captures[name]
        log.info("baseline of %s: %s", name, text)
        with self._journal.transaction() as tx:
            tx.timeline.add_event("baseline", f"{name}: {text}", now)
