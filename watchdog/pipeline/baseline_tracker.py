"""Baselines that move: values are taken while all is well, learned from, captured for people, and kept in the journal.

While anything of a KPI's targets is tripped, a plan is at work there, or it is latched, nothing is taken and nothing
learned: the baseline stays what it was when the trouble began.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.core.units import format_duration, format_value
from watchdog.documents.problems import unknown_name
from watchdog.journal.baselines import Baseline, BaselineKind
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
    scoped_query,
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
"""(name in `Config.queries`, target) → what it is now."""


class KpiOfTarget(NamedTuple):
    """A KPI, as that of one of the targets that have it."""

    kpi: str
    target: str
    """Empty: there is no target at all."""


def moving_baselines(config: Config) -> dict[KpiOfTarget, Kpi]:
    """KPIs whose baseline no file says, for each target that is judged by them; one that no rule judges, for the first target."""
    users: dict[str, list[str]] = {name: [] for name, kpi in config.kpis.items() if kpi.has_dynamic_baseline}
    for (_, target), rule in config.rules_by_target.items():
        if rule.kpi in users and target not in users[rule.kpi]:
            users[rule.kpi].append(target)
    return {
        KpiOfTarget(name, target): config.kpi(name, target) or config.kpis[name]
        for name, targets in users.items()
        for target in targets or [next(iter(config.targets), "")]
    }


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
        self._moving = moving_baselines(config)
        self._judged = {
            KpiOfTarget(rule.kpi, target)
            for (_, target), rule in config.rules_by_target.items()
            if rule.kpi is not None
        }
        self._saved = (
            {(each.kpi, each.target, each.kind): each for each in journal.baselines.list_baselines()}
            if self._moving
            else {}
        )
        self._learning: dict[KpiOfTarget, _Learning] = {}
        for of, kpi in self._moving.items():
            if isinstance(kpi.baseline, Learn):
                digest = expression_digest(kpi)
                points = journal.baselines.list_points(of.kpi, digest, of.target)
                before = self._find_saved(of, "learned")
                known = before is not None and before.asked == digest
                normal = (
                    BaselineState(before.value, "") if before and known else learn_baseline(kpi.baseline, points, now)
                )
                self._learning[of] = _Learning(digest, points, normal)
        self._captures: dict[KpiOfTarget, _Capture] = {}

    def _find_saved(self, of: KpiOfTarget, kind: BaselineKind) -> Baseline | None:
        """Its own; or that of a journal from before each target had its own."""
        return self._saved.get((of.kpi, of.target, kind)) or self._saved.get((of.kpi, "", kind))

    def name_of(self, of: KpiOfTarget) -> str:
        """How people call it: the KPI, and whose it is where several targets have it."""
        several = sum(each.kpi == of.kpi for each in self._moving) > 1
        return f"{of.kpi}@{of.target}" if several else of.kpi

    def carry_over(self, previous: BaselineTracker) -> None:
        """Over a reload: captures go on where their KPI is what it was."""
        for of, capture in previous._captures.items():
            if of in self._moving and self._moving[of] == previous._moving[of]:
                self._captures[of] = capture

    def current(self, kpi: str, target: str) -> BaselineState:
        """What is known of a KPI's moving baseline, as that of a target."""
        of = KpiOfTarget(kpi, target)
        if of in self._learning:
            return self._learning[of].current
        captured = self._find_saved(of, "captured")
        if captured is None:
            return BaselineState(None, f"not captured yet: trading-watchdog baseline capture {self.name_of(of)}")
        if captured.asked != expression_digest(self._moving[of]):
            why = f"captured of another expression: trading-watchdog baseline capture {self.name_of(of)}"
            return BaselineState(None, why)
        return BaselineState(captured.value, "")

    def shift(self, step: Millis) -> None:
        """The clock was set: what is being captured takes as long as was asked. Learned points keep their times."""
        for capture in self._captures.values():
            capture.until += step
            capture.next_point += step

    def checks(self) -> tuple[Check, ...]:
        """The configuration's checks; those that lean on a moving baseline, as it is now."""
        return tuple(
            check
            if (kpi := self._moving.get(KpiOfTarget(check.kpi, check.target))) is None
            else self._compile(check, kpi)
            for check in self._config.checks
        )

    def _compile(self, check: Check, kpi: Kpi) -> Check:
        rule = self._config.rule(check.rule, check.target)
        scoped = self._config.is_scoped(rule.kpi)
        state = self.current(check.kpi, check.target)
        return compile_check(rule, check.level, kpi, state, scoped=scoped) or check

    def update(self, evaluate: EvaluateKpi, fires: Callable[[str], bool], now: Millis) -> set[KpiOfTarget]:
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

    def _step(self, name: KpiOfTarget) -> Millis:
        learn = self._moving[name].baseline
        return learn.step if isinstance(learn, Learn) else 0

    def _learn(
        self, name: KpiOfTarget, state: _Learning, evaluate: EvaluateKpi, fires: Callable[[str], bool], now: Millis
    ) -> bool:
        """Whether the baseline, or what is said of its learning, is another one now."""
        kpi = self._moving[name]
        assert isinstance(kpi.baseline, Learn)
        state.next_point = (now // kpi.baseline.step + 1) * kpi.baseline.step
        if self._frozen_reason(name, fires, now) is not None:
            return False
        values, _ = trusted_values(name.kpi, kpi, self._evaluate(name, evaluate), now)
        if values:
            state.unwritten.append((now, central_value(values)))
            state.points.append(state.unwritten[-1])
        if state.unwritten and not (now < state.next_write <= now + _WRITE_INTERVAL):
            state.next_write = now + _WRITE_INTERVAL
            before = now - kpi.baseline.offset - kpi.baseline.learn - kpi.baseline.step
            with self._journal.transaction() as tx:
                tx.baselines.save_points(name.kpi, state.digest, state.unwritten, before, name.target)
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
                    name.kpi,
                    "learned",
                    state.digest,
                    normal.value,
                    now,
                    len(state.points),
                    kpi.baseline.learn,
                    "",
                    self._head_commit(name, now),
                    name.target,
                )
            )
        state.current = normal
        return True

    def _evaluate(self, name: KpiOfTarget, evaluate: EvaluateKpi) -> Reading:
        if not name.target:
            return Reading({}, error="there is no target")
        return evaluate(scoped_query(name.kpi, name.target, scoped=self._config.is_scoped(name.kpi)), name.target)

    def _frozen_reason(self, name: KpiOfTarget, fires: Callable[[str], bool], now: Millis) -> str | None:
        """Why nothing is taken at the moment."""
        target = name.target
        if name not in self._judged:
            return None  # no rule judges it
        if fires(target):
            return f"a rule of {target} fires"
        if at_work := self._journal.runs.list_unfinished(target):
            return f"plan {at_work[0].plan} is at work on {target}"
        if self._journal.targets.get_state(target, now).latched is not None:
            return f"{target} is latched"
        return None

    def _head_commit(self, name: KpiOfTarget, now: Millis) -> str | None:
        return self._journal.targets.get_state(name.target, now).head

    def _save(self, baseline: Baseline) -> None:
        with self._journal.transaction() as tx:
            tx.baselines.save_baseline(baseline)
        self._saved[baseline.kpi, baseline.target, baseline.kind] = baseline

    # ─ captures ─

    def start_capture(
        self, names: Iterable[str], span: Millis, who: str, fires: Callable[[str], bool], now: Millis
    ) -> tuple[bool, str]:
        """Begins to capture; (True, the KPIs) or (False, why not)."""
        capturable = [of for of, kpi in self._moving.items() if kpi.baseline == "captured"]
        wanted = [] if (asked := list(dict.fromkeys(names))) else capturable
        for name in asked:
            kpi_name, _, target = name.partition("@")
            if kpi_name not in self._config.kpis:
                return False, unknown_name("KPI", kpi_name, self._config.kpis)
            mine = [of for of in capturable if of.kpi == kpi_name and target in ("", of.target)]
            if not mine and target and any(of.kpi == kpi_name for of in capturable):
                return False, unknown_name("target", target, [of.target for of in capturable if of.kpi == kpi_name])
            if not mine:
                return False, f"the baseline of {kpi_name} is not captured: say baseline: captured in its file first"
            wanted += mine
        if not wanted:
            return False, "no KPI says baseline: captured — say it where the baseline is to be captured"
        for of in wanted:
            if why := self._frozen_reason(of, fires, now):
                return False, f"not now: {why}, and what is so now is not how it is when all is well"
        step = max(1_000, span // 600)
        for of in wanted:
            self._captures[of] = _Capture(now + span, span, step, who, now)
        return True, ", ".join(map(self.name_of, wanted))

    def _capture(
        self, name: KpiOfTarget, capture: _Capture, evaluate: EvaluateKpi, fires: Callable[[str], bool], now: Millis
    ) -> bool:
        kpi = self._moving[name]
        capture.next_point = now + capture.step
        if why := self._frozen_reason(name, fires, now):
            self._end_capture(name, f"not captured: {why}", now)
            return False
        values, why = trusted_values(name.kpi, kpi, self._evaluate(name, evaluate), now)
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
                name.kpi,
                "captured",
                expression_digest(kpi),
                value,
                now,
                samples,
                capture.span,
                capture.who,
                self._head_commit(name, now),
                name.target,
            )
        )
        over = f" over {format_duration(capture.span)}" if capture.span else ""
        count = "1 sample" if samples == 1 else f"{samples} samples"
        self._end_capture(name, f"captured {format_value(value, kpi.unit)} from {count}{over} for {capture.who}", now)
        return True

    def _end_capture(self, of: KpiOfTarget, text: str, now: Millis) -> None:
        """One line, for the log and for whoever waits on the command line."""
        del self._captures[of]
        name = self.name_of(of)
        log.info("baseline of %s: %s", name, text)
        with self._journal.transaction() as tx:
            tx.timeline.add_event("baseline", f"{name}: {text}", now)
