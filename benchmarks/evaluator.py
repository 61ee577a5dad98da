"""Our evaluations per CPU-second: what the daemon does for a rule on new samples, without the world around it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.cases import SECOND, BenchmarkCase, SeriesHistory, make_gauges
from benchmarks.measure import measure_rate
from watchdog import rules
from watchdog.config import load
from watchdog.core.model import Millis, Sample
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.pipeline.pipeline import Pipeline
from watchdog.promql import EmbeddedEvaluator, EvaluationRound, Expr, InstantVector, parse
from watchdog.rules import Check, Kpi, Reading, Rule, Threshold
from watchdog.tsdb.head import Head

_NOW: Millis = 1_700_000_000_000


class SampleFeed:
    """Keeps one second after the other, history first; afterwards the history is told again, and again."""

    def __init__(self, store: Head, history: list[SeriesHistory]) -> None:
        self._store = store
        self._names = [(series.name, series.labels) for series in history]
        self._values = np.array([series.values for series in history]).T.copy()
        self._position = 0
        self.now = _NOW
        for _ in range(len(self._values)):
            self.advance()

    def next_samples(self) -> list[Sample]:
        """The samples of one more second."""
        self.now += SECOND
        values = self._values[self._position % len(self._values)].tolist()
        self._position += 1
        return [Sample(name, labels, self.now, v) for (name, labels), v in zip(self._names, values, strict=True)]

    def advance(self) -> None:
        self._store.ingest("bot", self.now + SECOND, self.next_samples())


class RuleSet:
    """Rules with their expressions, judged as the pipeline does it."""

    def __init__(self, feed: SampleFeed, store: Head, case: BenchmarkCase) -> None:
        self._feed, self._live = feed, EmbeddedEvaluator(store)
        self._rules: list[tuple[Expr, Check]] = []
        for number, text in enumerate(case.exprs):
            kpi = Kpi(expr=text)
            rule = Rule(name=f"rule-{number}", kpi=f"kpi-{number}", targets=("bot",), crit=Threshold(above=case.limit))
            check = rules.compile_check(rule, "crit", kpi)
            assert check is not None
            self._rules.append((parse(text), check))
        tick = self._live.at(feed.now)
        self._known = [list(_evaluate(expr, tick).values) for expr, _ in self._rules]

    def judge_fast(self) -> int:
        """Judges every rule, by its numbers alone where they are plainly well. Returns the number of series that were
        judged; fails when one of them is not `ok`."""
        count, now, tick = 0, self._feed.now, self._live.at(self._feed.now)
        for expr, check in self._rules:
            reading = _evaluate(expr, tick)
            values = reading.values
            assert isinstance(values, InstantVector)
            well = rules.clearly_ok(check, reading, now, values.min_value, values.max_value)
            assert well, rules.judge(check, reading, now)[0].reason
            count += len(values)
        return count

    def judge_with_verdicts(self) -> int:
        """The same with a verdict for each series, its sentence for people included."""
        count, tick = 0, self._live.at(self._feed.now)
        for (expr, check), known in zip(self._rules, self._known, strict=True):
            verdicts = rules.judge(check, _evaluate(expr, tick), self._feed.now, known)
            assert verdicts[0].outcome == verdicts[-1].outcome == "ok", verdicts[0].reason
            count += len(verdicts)
        return count


def _evaluate(expr: Expr, tick: EvaluationRound) -> Reading:
    values, newest, have, need, until = tick.evaluate(expr)
    return Reading(values, newest, have, need, None, 5 * SECOND, valid_until=until)


class EvaluatorBenchmark:
    """Measures cases; those that read the same history share its store, which is filled once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._filled: dict[int, tuple[SampleFeed, Head]] = {}

    def _filled_store(self, case: BenchmarkCase) -> tuple[SampleFeed, Head]:
        known = self._filled.get(id(case.history))
        if known is None:
            length = case.history[0].values.size * SECOND
            store = Head({case.history[0].name: length if case.window else 0})
            self._filled.clear()  # cases of one history stand together: the last one's is no longer needed
            known = self._filled[id(case.history)] = (SampleFeed(store, case.history), store)
        return known

    def measure_fast(self, case: BenchmarkCase) -> float:
        """Verdicts per CPU-second, each from an evaluation on samples that came in just before."""
        feed, store = self._filled_store(case)
        return measure_rate(feed.advance, RuleSet(feed, store, case).judge_fast, self._seconds)

    def measure_with_verdicts(self, case: BenchmarkCase) -> float:
        """The same, with every verdict written out."""
        feed, store = self._filled_store(case)
        return measure_rate(feed.advance, RuleSet(feed, store, case).judge_with_verdicts, self._seconds)

    def measure_filtered(self, case: BenchmarkCase) -> float:
        """The same without `judge`: the limit stands in the expression, as in a Prometheus rule."""
        feed, store = self._filled_store(case)
        exprs = [parse(f"{text} > {case.limit}") for text in case.exprs]
        live = EmbeddedEvaluator(store)

        def once() -> int:
            tick = live.at(feed.now)
            for expr in exprs:
                dict(tick.evaluate(expr).values)
            return len(exprs) * case.checks

        return measure_rate(feed.advance, once, self._seconds)


def measure_pipeline(case: BenchmarkCase, seconds: float) -> float:
    """Rules per CPU-second of `Pipeline.judge`: evaluated, judged, advanced, compared with the journal."""
    with _pipeline(case.exprs, case.limit) as pipeline:
        feed = SampleFeed(pipeline.store, case.history)

        def once() -> int:
            pipeline.judge(feed.now, "bot")
            return len(case.exprs)

        return measure_rate(lambda: pipeline.add_samples("bot", feed.next_samples(), feed.now), once, seconds)


RULE_COUNT = 10_000


def measure_core_share(seconds: float) -> float:
    """% of a core for 10,000 rules on 1,000 series, one second after the other, with nothing happening: samples kept, all
    rules judged, and the tick of the clock."""
    history = make_gauges(1_000, 5)
    with _pipeline([f'gauge{{i="{number % 1_000}"}}' for number in range(RULE_COUNT)], 5.0) as pipeline:
        gc.collect()
        gc.freeze()  # as `run` does once its rules are loaded
        feed = SampleFeed(pipeline.store, history)
        batch = feed.next_samples()

        def advance() -> None:
            batch[:] = feed.next_samples()

        def second() -> int:
            pipeline.add_samples("bot", batch, feed.now)
            pipeline.judge(feed.now, "bot")
            pipeline.judge(feed.now + 5)
            return 1

        try:
            return 100 / measure_rate(advance, second, seconds)
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
        journal = SqliteJournal(folder / "state" / "journal.db")
        try:
            yield Pipeline(load(folder, environ={}), journal, Telemetry("benchmarks"), _NOW)
        finally:
            journal.close()
