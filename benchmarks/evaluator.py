"""Our evaluations per CPU-second: what the daemon does for a rule on new samples, without the world around it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.data import SECOND, Case, Series, gauges
from benchmarks.measure import rate
from watchdog import rules
from watchdog.config import load
from watchdog.journal import Journal
from watchdog.model import Millis, Sample
from watchdog.pipeline import Pipeline
from watchdog.promql import Expr, Live, Tick, Values, parse
from watchdog.rules import Check, Kpi, Reading, Rule, Threshold
from watchdog.series import Store
from watchdog.telemetry import Telemetry

_NOW: Millis = 1_700_000_000_000


class Feed:
    """Keeps one second after the other, history first; afterwards the history is told again, and again."""

    def __init__(self, store: Store, history: list[Series]) -> None:
        self._store = store
        self._names = [(series.name, series.labels) for series in history]
        self._values = np.array([series.values for series in history]).T.copy()
        self._told = 0
        self.now = _NOW
        for _ in range(len(self._values)):
            self.tick()

    def next(self) -> list[Sample]:
        """The samples of one more second."""
        self.now += SECOND
        values = self._values[self._told % len(self._values)].tolist()
        self._told += 1
        return [Sample(name, labels, self.now, v) for (name, labels), v in zip(self._names, values, strict=True)]

    def tick(self) -> None:
        self._store.keep("bot", self.now + SECOND, self.next())


class Judged:
    """Rules with their expressions, judged as the pipeline does it."""

    def __init__(self, feed: Feed, store: Store, case: Case) -> None:
        self._feed, self._live = feed, Live(store)
        self._rules: list[tuple[Expr, Check]] = []
        for number, text in enumerate(case.exprs):
            kpi = Kpi(expr=text)
            rule = Rule(name=f"rule-{number}", kpi=f"kpi-{number}", target="bot", crit=Threshold(above=case.limit))
            check = rules.check(rule, "crit", kpi)
            assert check is not None
            self._rules.append((parse(text), check))
        tick = self._live.at(feed.now)
        self._known = [list(_reading(expr, tick).values) for expr, _ in self._rules]

    def once(self) -> int:
        """Judges every rule, by its numbers alone where they are plainly well. Returns the number of series that were
        judged; fails when one of them is not `ok`."""
        count, now, tick = 0, self._feed.now, self._live.at(self._feed.now)
        for expr, check in self._rules:
            reading = _reading(expr, tick)
            values = reading.values
            assert isinstance(values, Values)
            well = rules.quiet(check, reading, now, values.low, values.high)
            assert well, rules.judge(check, reading, now)[0].reason
            count += len(values)
        return count

    def written(self) -> int:
        """The same with a verdict for each series, its sentence for people included."""
        count, tick = 0, self._live.at(self._feed.now)
        for (expr, check), known in zip(self._rules, self._known, strict=True):
            verdicts = rules.judge(check, _reading(expr, tick), self._feed.now, known)
            assert verdicts[0].outcome == verdicts[-1].outcome == "ok", verdicts[0].reason
            count += len(verdicts)
        return count


def _reading(expr: Expr, tick: Tick) -> Reading:
    values, newest, have, need, until = tick.read(expr)
    return Reading(values, newest, have, need, None, 5 * SECOND, until=until)


class Ours:
    """Measures cases; those that read the same history share its store, which is filled once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._filled: dict[int, tuple[Feed, Store]] = {}

    def _store(self, case: Case) -> tuple[Feed, Store]:
        known = self._filled.get(id(case.history))
        if known is None:
            length = case.history[0].values.size * SECOND
            store = Store({case.history[0].name: length if case.window else 0})
            self._filled.clear()  # cases of one history stand together: the last one's is no longer needed
            known = self._filled[id(case.history)] = (Feed(store, case.history), store)
        return known

    def judged(self, case: Case) -> float:
        """Verdicts per CPU-second, each from an evaluation on samples that came in just before."""
        feed, store = self._store(case)
        return rate(feed.tick, Judged(feed, store, case).once, self._seconds)

    def written(self, case: Case) -> float:
        """The same, with every verdict written out."""
        feed, store = self._store(case)
        return rate(feed.tick, Judged(feed, store, case).written, self._seconds)

    def filtered(self, case: Case) -> float:
        """The same without `judge`: the limit stands in the expression, as in a Prometheus rule."""
        feed, store = self._store(case)
        exprs = [parse(f"{text} > {case.limit}") for text in case.exprs]
        live = Live(store)

        def once() -> int:
            tick = live.at(feed.now)
            for expr in exprs:
                dict(tick.read(expr).values)
            return len(exprs) * case.checks

        return rate(feed.tick, once, self._seconds)


def whole_round(case: Case, seconds: float) -> float:
    """Rules per CPU-second of `Pipeline.judge`: evaluated, judged, advanced, compared with the journal."""
    with _pipeline(case.exprs, case.limit) as pipeline:
        feed = Feed(pipeline.store, case.history)

        def once() -> int:
            pipeline.judge(feed.now, "bot")
            return len(case.exprs)

        return rate(lambda: pipeline.keep("bot", feed.next(), feed.now), once, seconds)


RULES = 10_000


def share_of_a_core(seconds: float) -> float:
    """% of a core for 10,000 rules on 1,000 series, one second after the other, with nothing happening: samples kept, all
    rules judged, and the tick of the clock."""
    history = gauges(1_000, 5)
    with _pipeline([f'gauge{{i="{number % 1_000}"}}' for number in range(RULES)], 5.0) as pipeline:
        gc.collect()
        gc.freeze()  # as `run` does once its rules are loaded
        feed = Feed(pipeline.store, history)
        batch = feed.next()

        def advance() -> None:
            batch[:] = feed.next()

        def second() -> int:
            pipeline.keep("bot", batch, feed.now)
            pipeline.judge(feed.now, "bot")
            pipeline.judge(feed.now + 5)
            return 1

        try:
            return 100 / rate(advance, second, seconds)
        finally:
            gc.unfreeze()


@contextmanager
def _pipeline(exprs: Sequence[str], limit: float) -> Iterator[Pipeline]:
    """One rule for each expression."""
    with TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        (folder / "rules").mkdir()
        (folder / "watchdog.yaml").write_text(
            'sources: {bot: {type: scrape, url: "http://127.0.0.1:1/metrics", every: 1s}}\nstate: state\n'
        )
        kpis = "\n".join(f"  kpi-{number}: {{expr: '{text}'}}" for number, text in enumerate(exprs))
        listed = "\n".join(
            f"  - {{name: rule-{number}, kpi: kpi-{number}, target: bot, crit: {{above: {limit:g}}}}}"
            for number in range(len(exprs))
        )
        (folder / "rules" / "all.yaml").write_text(f"targets: {{bot: {{}}}}\nkpis:\n{kpis}\nrules:\n{listed}\n")
        journal = Journal(folder / "state" / "journal.db")
        try:
            yield Pipeline(load(folder, environ={}), journal, Telemetry("benchmarks"), _NOW)
        finally:
            journal.close()
