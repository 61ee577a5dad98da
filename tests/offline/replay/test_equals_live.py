"""The same samples through the daemon's pipeline and through replay: the same events at the same times."""

from __future__ import annotations

import itertools
import math
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from tests.tsdb.test_archive import LIMITS
from watchdog import config
from watchdog.config import Config
from watchdog.core.model import Sample, Verdict
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.offline.history import loader
from watchdog.offline.replay.engine import ReplayReport, replay
from watchdog.offline.replay.threshold import ThresholdReplay
from watchdog.pipeline.config_expressions import longest_windows
from watchdog.pipeline.pipeline import Pipeline
from watchdog.rules import Check
from watchdog.rules.state_machine import Transition
from watchdog.sources.max_age import longest_gap_of
from watchdog.tsdb.archive import SeriesArchive
from watchdog.tsdb.head import Head
from watchdog.tsdb.write_buffer import WriteBuffer

T = 1_767_225_600_000

MAIN = """\
sources: {bot: {type: scrape, url: "http://127.0.0.1:9/metrics", every: EVERY}}
state: state
web: {listen: "127.0.0.1:0"}
"""

RULES = """\
targets: {bot: {repo: /nowhere, budget: [2 per 10m], cooldown: 30s}}
kpis:
  level: {expr: a}
  mean: {expr: "avg_over_time(a[7s])"}
  needy: {expr: "increase(c[8s])", needs: "count_over_time(b[6s]) >= 4"}
  many: {expr: d}
  ratio: {expr: "b / (b > 0)"}
  peak: {expr: "1 - b / max_over_time(b[1h])", since: resume}
defaults: {target: bot, if_missing: {after: 5s, then: hold}}
rules:
  - {name: hold, kpi: level, warn: {above: 2, for: 2s}, crit: {above: 4, for: 3s, clear: 3, clear_for: 2s, plan: mend}}
  - {name: counts, kpi: level, crit: {below: 1, for: 3 of 5, clear: 2, clear_for: 4s, plan: halt}}
  - {name: mean, kpi: mean, warn: {at_least: 3}, crit: {at_least: 3.5, for: 1500ms, clear: 2, plan: mend}}
  - {name: needy, kpi: needy, crit: {at_most: 3, for: 2s}}
  - {name: quiet, kpi: ratio, warn: {above: 0, for: 4s}, only: {when: "a > 2"}}
  - {name: peak, kpi: peak, crit: {at_least: 0.5, for: 2 of 2, clear: 0.2}}
  - {name: missing, kpi: level, if_missing: {after: 4s, then: crit}, crit: {above: 100}}
  - {name: band, kpi: level, crit: {outside: [1, 4], clear: [2, 3], for: 1s}, if_missing: {after: 3s, then: ok}}
  - {name: exactly, kpi: level, warn: {equals: 2.5, for: 2s, clear_for: 1s}}
  - {name: asked, each: [x], warn: {expr: d > 4, for: 1s}, crit: {expr: "d > 5 and on() b > 9", for: 2 of 3}}
  - {name: beside, kpi: mean, crit: {expr: "a > 2 and on() c > 3", for: 1s, clear_for: 2s}}
  - {name: hours, kpi: level, warn: {above: 2, for: 3s}, only: {between: "00:00-00:01", when: "b > 2"}}
  - {name: leaves, kpi: many, each: [x], forget: 9s, warn: {above: 4}}
  - {name: each, kpi: many, each: [x], warn: {above: 4, for: 1s, clear_for: 3s}}
plans:
  mend: {kind: repair, mode: auto, exhausted: halt, levels: [{name: one, steps: [{do: command, run: ["true"]}]}],
         verify: {that: [a < 3], quiet: 1s, give_up: 5s, settle: 1s}}
  halt: {kind: halt, levels: [{name: one, steps: [{do: command, run: ["true"]}], verify: {that: [a < 3], give_up: 5s}}]}
"""

MOVING_RULES = RULES.replace("  many: {expr: d}\n", "  many: {expr: d}\n  moving: {expr: e}\n").replace(
    "plans:\n",
    "  - {name: moving, kpi: moving, warn: {above: 1}, crit: {above: 2, for: 2s, clear: 1.8, clear_for: 2s}}\nplans:\n",
)
"""With a rule on a metric whose label sets come in each other's place."""

SourceRow = dict[str, float] | None
"""Values by series; None: the source cannot be read."""


def write_config(folder: Path, every: int, text: str = RULES) -> Config:
    (folder / "rules").mkdir()
    (folder / "watchdog.yaml").write_text(MAIN.replace("EVERY", f"{every}ms"))
    (folder / "rules" / "rules.yaml").write_text(text)
    return config.load(folder, environ={})


def run_live(
    folder: Path, loaded: Config, rows: list[tuple[int, SourceRow]], *, act: bool = False, keep: bool = False
) -> tuple[list[Any], list[Any]]:
    """(changes, plans) of the pipeline with a clock of our own: reads as they come, a tick each second. `keep`: its series
    go to series.db."""
    journal = SqliteJournal(folder / "journal.db")
    start, end = rows[0][0], rows[-1][0]
    pipeline = Pipeline(loaded, journal, Telemetry("0"), start - 1, automatic_plans=act)
    told: list[Any] = []
    record = pipeline.incident_manager.record_changes

    def spy(db: Any, changes: list[tuple[Check, Transition, Verdict]], now: int, **circumstances: bool) -> Any:
        # Replay passes over what pended and came to nothing.
        told.extend((c.time, c.key, c.kind, c.reason) for _, c, _ in changes if c.kind != "dropped")
        return record(db, changes, now, **circumstances)

    pipeline.incident_manager.record_changes = spy  # type: ignore[method-assign,assignment]
    archive = SeriesArchive(folder / "series.db", LIMITS, pipeline.store.retention_of)
    archive.restore(pipeline.store, ["bot"], start - 1)
    buffer = WriteBuffer(pipeline.store, start - 1)
    reads = dict(rows)
    for now in sorted(reads.keys() | set(range(start, end + 1, 1_000))):
        if now in reads:
            if (row := reads[now]) is None:
                pipeline.mark_source_down("bot", now)
            else:
                pipeline.add_samples("bot", [make_sample(name, now, v) for name, v in row.items()], now)
            pipeline.judge(now, "bot")
        if (now - start) % 1_000 == 0:
            pipeline.judge(now)
        if keep and ((now - start) % 20_000 == 0 or now == end):
            batch = buffer.collect(now)
            assert archive.write(batch)
            buffer.mark_written(batch)
    archive.close()
    plans = [(run.queued, run.plan) for run in journal.runs.list_recent_automatic("bot", 0)]
    journal.close()
    return told, plans


def make_sample(series: str, t: int, v: float) -> Sample:
    name, _, rest = series.partition("{")
    return Sample(name, (("x", rest[3:-2]),) if rest else (), t, v)


def run_replay(loaded: Config, path: Path, rows: list[tuple[int, SourceRow]]) -> tuple[list[Any], ReplayReport]:
    """The same rows as a CSV file, and when the source was watched, as the daemon writes it into series.db."""
    names = sorted({name for _, row in rows if row for name in row})
    lines = ["time," + ",".join('"' + name.replace('"', '""') + '"' for name in names)]
    for t, row in rows:
        cells = (
            ["stale"] * len(names) if row is None else [repr(row[name]) if name in row else "stale" for name in names]
        )
        lines.append(f"{t}," + ",".join(cells))
    path.write_text("\n".join(lines) + "\n")
    pages = loader.load([str(path)], source="bot")
    spans = watched_spans(loaded, rows)
    for page in pages.pages:
        page.downtimes = np.array(
            [(before[1], after[0]) for before, after in itertools.pairwise(spans)], np.int64
        ).reshape(-1, 2)
    return replay_pages(loaded, pages)


def replay_pages(loaded: Config, pages: Any) -> tuple[list[Any], ReplayReport]:
    courses: list[ThresholdReplay] = []
    make = ThresholdReplay.__init__

    def noted(self: ThresholdReplay, check: Check, index: int) -> None:
        make(self, check, index)
        courses.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ThresholdReplay, "__init__", noted)
        report = replay(loaded, pages)
    return [(c.time, c.key, c.kind, c.reason) for course in courses for c, _ in course.changes], report


def watched_spans(loaded: Config, rows: list[tuple[int, SourceRow]]) -> list[tuple[int, int]]:
    """All that was ever said of them."""
    store = Head(longest_windows(loaded))
    store.watched.longest_gaps = {name: longest_gap_of(source) for name, source in loaded.sources.items()}
    spans: dict[int, int] = {}
    for now, row in rows:
        if row is None:
            store.mark_source_down("bot", now)
        else:
            store.ingest("bot", now, [])
        spans.update(store.watched.spans().get("bot", []))
    return sorted(spans.items())


BIRTHS_AND_ENDS = """\
targets: {bot: {repo: /nowhere}}
kpis:
  shift: {expr: "d - avg_over_time(d[12s] offset 1s)"}
  steady: {expr: "avg_over_time(d[9s])"}
  held: {expr: "d - avg_over_time(d[900s] offset 1s)", needs: "count_over_time(d[900s]) >= 3"}
  worst: {expr: "max(max_over_time(d[15s]))"}
  few: {expr: "increase(d[10s])", needs: "count_over_time(d[6s]) >= 3"}
  both: {expr: 'avg_over_time({__name__=~"a|d"}[8s])'}
  now: {expr: d}
  peak: {expr: "1 - d / max_over_time(d[1h])", since: resume}
defaults: {target: bot, if_missing: {after: 4s, then: warn}}
rules:
  - {name: shift, each: [x], kpi: shift, crit: {above: 1, for: 1s}}
  - {name: steady, each: [x], kpi: steady, warn: {above: 3, for: 2s, clear: 2}}
  - {name: held, each: [x], kpi: held, crit: {above: 1}, if_missing: {after: 3s, then: hold}}
  - {name: worst, kpi: worst, crit: {at_least: 6}}
  - {name: few, each: [x], kpi: few, warn: {above: 4}, forget: 6s}
  - {name: both, each: [x], kpi: both, warn: {above: 3}}
  - {name: now, each: [x], kpi: now, warn: {above: 4, for: 2 of 3}, forget: 8s}
  - {name: asked, each: [x], warn: {expr: "avg_over_time(d[9s]) > 3", for: 1s}}
  - {name: peak, each: [x], kpi: peak, crit: {at_least: 0.5, for: 2 of 2, clear: 0.2}}
"""


def random_label_sets(seed: int, count: int, every: int) -> list[tuple[int, SourceRow]]:
    """Label sets that begin, end, are missing for a while and come back, beside one that stays; and failed reads."""
    dice = random.Random(seed)
    spans = {
        str(x): (dice.randrange(0, count), dice.randrange(count // 8, count), dice.choice([0.0, 0.05, 0.3]))
        for x in range(4)
    }
    levels = dict.fromkeys((*spans, "stays"), 2.0)
    rows: list[tuple[int, SourceRow]] = []
    gaps: dict[str, int] = {}
    lost = 0
    for i in range(count):
        row = {"a": 1.0}
        for x in levels:
            if dice.random() < 0.2:
                levels[x] = dice.choice([0.5, 2.0, 2.5, 4.0, 6.0])
            first, long, holes = spans.get(x, (0, count, 0.0))
            if gaps.get(x, 0) <= 0 and dice.random() < holes:
                gaps[x] = dice.choice([1, 2, 6])
            gaps[x] = gaps.get(x, 0) - 1
            if first <= i < first + long and gaps[x] < 0:
                row[f'd{{x="{x}"}}'] = levels[x]
        lost = lost - 1 if lost > 0 else dice.choice([1, 4]) if i > 3 and dice.random() < 0.03 else 0
        rows.append((T + every * i, None if lost else row))
    return rows


def random_rows(seed: int, count: int, every: int) -> list[tuple[int, SourceRow]]:
    """A walk with quiet and wild stretches, failed reads, NaN and infinities now and then."""
    dice = random.Random(seed)
    rows: list[tuple[int, SourceRow]] = []
    a, b, c, lost = 1.0, 10.0, 0.0, 0
    for i in range(count):
        if dice.random() < 0.15:
            a = dice.choice([0.0, 1.5, 2.5, 3.5, 5.0])
        b = max(0.5, b + dice.choice([-3, -1, 0, 0, 1, 2]))
        c = 0.0 if dice.random() < 0.03 else c + dice.choice([0, 0, 1, 1, 2])
        lost = lost - 1 if lost else dice.choice([2, 7]) if i > 3 and dice.random() < 0.03 else 0
        odd = dice.choice([math.nan, math.inf, -math.inf]) if dice.random() < 0.05 else a
        row = {"a": odd, "b": b, "c": c, 'd{x="1"}': odd + 1} | ({} if i % 40 > 22 else {'d{x="2"}': 5 - a})
        row |= {f'e{{x="{i // 17 % 3}"}}': a} | ({'e{x="9"}': 1.0} if seed % 3 == 0 and i % 50 > 20 else {})
        rows.append((T + every * i, None if lost else row))
    return rows


@pytest.mark.slow
@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.sampled_from([300, 1_000, 2_500]))
def test_the_same_samples_make_the_same_changes_at_the_same_times(seed: int, every: int) -> None:
    rows = random_rows(seed, 80, every)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loaded = write_config(folder, every, MOVING_RULES)
        expected, _ = run_live(folder, loaded, rows)
        told, _ = run_replay(loaded, folder / "h.csv", rows)

    assert sorted(told) == sorted(expected)


@pytest.mark.slow
@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 100_000), st.sampled_from([400, 1_000, 2_500]))
def test_label_sets_that_begin_end_and_come_back_are_judged_in_replay_of_its_own_file_as_they_were(
    seed: int, every: int
) -> None:
    rows = random_label_sets(seed, 90, every)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loaded = write_config(folder, every, BIRTHS_AND_ENDS)
        expected, _ = run_live(folder, loaded, rows, keep=True)
        from_file, _ = replay_pages(loaded, loader.load([str(folder / "series.db")], source="bot"))
        from_csv, _ = run_replay(loaded, folder / "h.csv", rows)

    assert sorted(from_file) == sorted(expected)
    assert sorted(from_csv) == sorted(expected)


def test_a_label_set_that_ended_hides_nothing_of_those_that_go_on(tmp_path: Path) -> None:
    rows: list[tuple[int, SourceRow]] = [
        (T + 1_000 * i, {'d{x="a"}': 2.0 if i < 20 else 9.0} | ({'d{x="b"}': 2.0} if i < 10 else {})) for i in range(60)
    ]
    loaded = write_config(tmp_path, 1_000, BIRTHS_AND_ENDS)
    expected, _ = run_live(tmp_path, loaded, rows, keep=True)
    told, report = replay_pages(loaded, loader.load([str(tmp_path / "series.db")], source="bot"))

    assert ("held", (("x", "a"),)) in {(key.rule, key.labels) for _, key, kind, _ in expected if kind == "tripped"}
    assert sorted(told) == sorted(expected)
    assert not report.no_data[("held", "crit")] or report.no_data[("held", "crit")][0][1] <= T + 3_000


def test_the_random_walks_do_make_changes_of_every_kind(tmp_path: Path) -> None:
    loaded = write_config(tmp_path, 1_000)
    told, report = run_replay(loaded, tmp_path / "h.csv", random_rows(7, 600, 1_000))

    assert {kind for _, _, kind, _ in told} == {"tripped", "cleared", "lost", "back", "gone"}
    assert {trip.rule for trip in report.trips} >= {
        "hold",
        "counts",
        "mean",
        "peak",
        "missing",
        "needy",
        "band",
        "exactly",
        "asked",
        "beside",
        "hours",
        "leaves",
    }


def test_what_has_come_in_the_place_of_what_is_gone_ends_what_fired_in_replay_too(tmp_path: Path) -> None:
    loaded = write_config(tmp_path, 1_000, MOVING_RULES)
    rows: list[tuple[int, SourceRow]] = [
        (T + 1_000 * i, {'e{x="2"}': 9.0} if i < 10 else {} if i < 13 else {'e{x="1"}': 1.0}) for i in range(20)
    ]
    expected, _ = run_live(tmp_path, loaded, rows)
    told, _ = run_replay(loaded, tmp_path / "h.csv", rows)

    assert sorted(told) == sorted(expected)
    assert [(t, key.level) for t, key, kind, _ in sorted(told) if kind == "cleared" and key.rule == "moving"] == [
        (T + 13_000, "warn"),
        (T + 15_000, "crit"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_first_plan_is_the_one_that_the_daemon_starts(tmp_path: Path, seed: int) -> None:
    loaded = write_config(tmp_path, 1_000)
    rows = random_rows(seed, 90, 1_000)
    _, plans = run_live(tmp_path, loaded, rows, act=True)
    _, report = run_replay(loaded, tmp_path / "h.csv", rows)

    assert plans
    assert next((one.t, one.plan) for one in report.plans if one.refused is None) == min(plans)


def test_how_the_looks_are_cut_into_chunks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = write_config(tmp_path, 300)
    rows = random_rows(3, 300, 300)
    whole, _ = run_replay(loaded, tmp_path / "h.csv", rows)
    monkeypatch.setattr("watchdog.offline.replay.engine._CHUNK_ROUNDS", 7)
    parts, _ = run_replay(loaded, tmp_path / "h.csv", rows)

    assert whole
    assert parts == whole
