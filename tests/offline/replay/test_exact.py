"""Whether every round is judged or only those that matter, replay says the same: random rules over random histories."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.offline.replay.test_equals_live import T
from watchdog import config
from watchdog.cli.command_line import main
from watchdog.config import Config
from watchdog.offline.replay import skip
from watchdog.offline.replay.engine import replay
from watchdog.offline.replay.threshold import ThresholdReplay
from watchdog.rules import Check
from watchdog.tsdb.page import ABSENT, STALE, Floats, PageList, SeriesPage

EXPRESSIONS = (
    "a",
    "a",
    "d",
    "b / (b > 0)",
    "avg_over_time(a[7s])",
    "max_over_time(b[20s]) - b",
    "1 - b / max_over_time(b[10m])",
    "max_drawdown_over_time(b[1m])",
    "sum_over_time(d[5s])",
    "increase(c[30s])",
    "rate(c[1m])",
    "changes(a[40s])",
    "stddev_over_time(a[30s])",
    "quantile_over_time(0.5, a[9s])",
    "streak_above_over_time(a[30s], 2)",
    "sum(d)",
    "max by (x) (d)",
    "a offset 11s",
    "max_over_time(sum(d)[30s:5s])",
    "a + on () b",
    "clamp_max(a, 3)",
    "count_over_time(c[15s])",
    "absent(a)",
)
CONDITIONS = ("d > 4", "a > 2 and on () c > 3", "avg_over_time(b[9s]) < 8", "absent(b)", "d > 3 unless on (x) d > 4.5")
LIMITS = (-1.0, 0.0, 0.5, 1.0, 2.0, 2.5, 4.0, 10.0, 30.0)


def random_rules(dice: random.Random) -> str:
    """A few KPIs, and rules of every shape over them."""
    kpis, listed = [], []
    for number in range(dice.randint(1, 3)):
        needs = ', needs: "count_over_time(b[6s]) >= 4"' if dice.random() < 0.2 else ""
        resume = ", since: resume" if dice.random() < 0.1 else ""
        kpis.append(f'  k{number}: {{expr: "{dice.choice(EXPRESSIONS)}"{needs}{resume}}}\n')
    for number in range(dice.randint(1, 5)):
        patience = dice.choice(("", "for: 1s", "for: 2500ms", "for: 20s", "for: 2 of 3", "for: 3 of 5"))
        clear_for = dice.choice(("", "", "clear_for: 2s", "clear_for: 15s"))
        if dice.random() < 0.2:
            test, clear = f'expr: "{dice.choice(CONDITIONS)}"', ""
        else:
            test, clear = random_limit(dice)
        level = "{" + ", ".join(filter(None, (test, clear, patience, clear_for))) + "}"
        rest = [f"name: r{number}", f"kpi: k{dice.randrange(len(kpis))}", f"{dice.choice(('warn', 'crit'))}: {level}"]
        rest.append(dice.choice(("each: [x]", "")))
        rest.append(dice.choice(("", "", 'only: {when: "a > 2"}', 'only: {between: "00:00-00:02"}')))
        missing = ("", "", "if_missing: {after: 3s, then: crit}", "if_missing: {after: 4s, then: hold}")
        rest.append(dice.choice((*missing, "if_missing: {then: ok}")))
        rest.append(dice.choice(("", "", "forget: 9s")))
        listed.append(f"  - {{{', '.join(filter(None, rest))}}}\n")
    return f"targets: {{bot: {{}}}}\ndefaults: {{target: bot}}\nkpis:\n{''.join(kpis)}rules:\n{''.join(listed)}"


def random_limit(dice: random.Random) -> tuple[str, str]:
    """A comparison, and now and then a limit of its own to clear by."""
    operator, limit = dice.choice(("above", "at_least", "below", "at_most", "equals", "outside")), dice.choice(LIMITS)
    if operator == "outside":
        return f"outside: [{limit}, {limit + 2}]", ""
    apart = {"above": -0.5, "at_least": -0.5, "below": 0.5, "at_most": 0.5}.get(operator)
    return f"{operator}: {limit}", f"clear: {limit + apart}" if apart is not None and dice.random() < 0.3 else ""


def random_series(dice: random.Random, size: int, wild: np.ndarray) -> list[Floats]:
    """What `EXPRESSIONS` read: two gauges, a counter, two series of one metric."""
    rows: list[list[float]] = []
    a, b, c = 1.5, 10.0, 0.0
    for i in range(size):
        if wild[i]:
            a, b = dice.choice([0.0, 1.5, 2.5, 3.5, 5.0]), max(0.5, b + dice.choice([-3, -1, 0, 1, 2]))
        c = 0.0 if wild[i] and dice.random() < 0.1 else c + (dice.random() < 0.5)
        rows.append(
            [dice.choice([np.nan, np.inf, -np.inf]) if wild[i] and dice.random() < 0.05 else a, b, c, a + 1, 5 - a]
        )
    return [np.array(row) for row in np.array(rows).T]


def random_history(seed: int, size: int, jitter: int) -> PageList:
    """Two sources; series that begin late, end early, come back, or lack samples; hours of quiet and wild minutes."""
    dice = random.Random(seed)
    noise = np.random.default_rng(seed)
    wild = np.zeros(size, np.bool_)
    for _ in range(dice.randint(0, 6)):
        at = dice.randrange(size)
        wild[at : at + dice.randint(1, 60)] = True
    a, b, c, d1, d2 = random_series(dice, size, wild)
    pages = []
    names = [("a", ""), ("b", ""), ("c", ""), ("d", "1"), ("d", "2")]
    for source, rows, picked, every in (
        ("one", [a, c, d1], (0, 2, 3), 1),
        ("two", [b, d2], (1, 4), dice.choice([1, 3])),
    ):
        t = T + 1_000 * np.arange(size, dtype=np.int64)[::every]
        if jitter:
            t = t + noise.integers(0, jitter, t.size)
        if dice.random() < 0.3:  # nobody sampled for a while
            t[dice.randrange(t.size) :] += dice.randint(2_000, 400_000)
        v = np.array(rows)[:, ::every].copy()
        for row in v:
            if dice.random() < 0.3:  # born later
                row[: dice.randrange(t.size)] = ABSENT
            if dice.random() < 0.3:  # it ends, marked as gone or not
                row[dice.randrange(t.size) :] = dice.choice([STALE, ABSENT])
            if dice.random() < 0.5:
                for _ in range(dice.randint(1, 4)):
                    at = dice.randrange(t.size)
                    row[at : at + dice.choice([1, 1, 5, 40])] = dice.choice([STALE, ABSENT])
        keys = [
            tuple(
                sorted({"__name__": names[i][0], "source": source, **({"x": x} if (x := names[i][1]) else {})}.items())
            )
            for i in picked
        ]
        pages.append(SeriesPage(t, v, keys, T - (600_000 if dice.random() < 0.5 else 0)))
    return PageList(pages)


def load_rules(text: str, folder: Path) -> Config:
    path = folder / "rules.yaml"
    path.write_text(text)
    known, problems = config.check_files([path], environ={})
    assert known is not None, (text, problems)
    return known


def replay_changes(loaded: Config, pages: PageList, *, every: int | None, exact: bool) -> tuple[list[str], str]:
    """Every change, and what the report says of it, as text: there a NaN is equal to another."""
    courses: list[ThresholdReplay] = []
    make = ThresholdReplay.__init__

    def noted(self: ThresholdReplay, check: Check, index: int) -> None:
        make(self, check, index)
        courses.append(self)

    for page in pages.pages:
        page.spacing_cache, page.lookup_cache = None, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ThresholdReplay, "__init__", noted)
        report = replay(loaded, pages, every=every, exact=exact)
    told: list[tuple[Any, ...]] = [
        # How long something pended that needs N of M is told from where replay began to look closely.
        (c.time, c.key, c.kind, c.reason, course.check.patience.m or c.duration, verdict)
        for course in courses
        for c, verdict in course.changes
    ]
    return [repr(one) for one in sorted(told, key=lambda one: (one[0], str(one[1]), one[2]))], repr(report)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 1 << 30),
    st.integers(20, 1_200),
    st.sampled_from([0, 0, 700]),
    st.sampled_from([None, None, 5_000]),
    st.sampled_from([4, 32, 200]),
    st.sampled_from([7, 1_000]),
)
@example(125, 20, 700, None, 32, 1_000)  # N of M, and a label set that a condition names while no samples come
@example(243, 700, 0, None, 4, 7)  # what a condition names lacks the evidence that it needs
def test_every_round_judged_gives_what_the_shortcuts_give(
    seed: int, size: int, jitter: int, every: int | None, rounds: int, chunk: int
) -> None:
    pages, text = random_history(seed, size, jitter), random_rules(random.Random(seed))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        loaded = load_rules(text, Path(folder))
        patch.setattr(skip, "ROUNDS_PER_STRETCH", rounds)
        patch.setattr(skip, "MIN_STRETCHES", 2)
        patch.setattr("watchdog.offline.replay.engine._CHUNK_ROUNDS", chunk if size < 300 else 1_000)
        exact = replay_changes(loaded, pages, every=every, exact=True)
        default = replay_changes(loaded, pages, every=every, exact=False)

    assert default == exact, text


def test_each_round_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = random_history(3, 500, 0)
    loaded = load_rules(
        "targets: {bot: {}}\ndefaults: {target: bot}\nkpis: {k: {expr: a}}\nrules: [{name: r, kpi: k, crit: {above: 90}}]\n",
        tmp_path,
    )
    judged: list[int] = []
    judge = ThresholdReplay._evaluate_round

    def counted(self: ThresholdReplay, evaluations: Any, i: int) -> bool:
        judged.append(int(evaluations.times[i]))
        return judge(self, evaluations, i)

    monkeypatch.setattr(ThresholdReplay, "_evaluate_round", counted)
    report = replay(loaded, pages, exact=True)

    assert judged == list(range(report.start, report.end + 1, 1_000))


@pytest.mark.slow
def test_the_command_prints_the_same_with_exact(capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[3]
    args = ["replay", str(root / "rules"), "--history", str(root / "examples/hmm_bot/bad_v2.csv")]

    assert main(args) == 0
    default = capsys.readouterr().out
    assert main([*args, "--exact"]) == 0

    assert "tripped" in default
    assert capsys.readouterr().out == default
