"""What replay tells: the example's recordings, labelled incidents, plans that the guard would have let start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from watchdog import config
from watchdog.cli.command_line import main
from watchdog.offline.history import loader
from watchdog.offline.history.page_builder import HistoryError
from watchdog.offline.replay.engine import ReplayReport, replay
from watchdog.offline.replay.outcome import ReplayTrip
from watchdog.offline.replay.scoring import LabelledIncident, load_labels, score_labels
from watchdog.tsdb.labels import retarget_key
from watchdog.tsdb.page import PageList, page_from_samples

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "hmm_bot"
T = 1_767_225_600_000

RULES = """\
targets: {{bot: {{repo: /nowhere, budget: [{budget}], cooldown: {cooldown}, settling: 4s}}}}
kpis: {{level: {{expr: a}}, other: {{expr: b}}}}
defaults: {{target: bot}}
rules:
  - {{name: level, kpi: level, crit: {{above: 0, for: 1s, plan: mend}}}}
  - {{name: other, kpi: other, crit: {{above: 0, plan: halt}}}}
plans:
  mend: {{kind: repair, mode: auto, exhausted: halt, levels: [{{name: one, steps: [{{do: command, run: ["true"]}}]}}],
         verify: {{that: [a < 3], quiet: 1s, give_up: 5s, settle: 1s}}}}
  halt: {{kind: halt, {halt}levels: [{{name: one, steps: [{{do: command, run: ["true"]}}],
         verify: {{that: [a < 3], give_up: 5s}}}}]}}
"""


def replay_csv(
    tmp_path: Path,
    a: str,
    b: str = "",
    *,
    budget: str = "9 per 1h",
    cooldown: str = "0s",
    halt: str = "",
    deployments: Sequence[int] = (),
) -> ReplayReport:
    """One character a second and series: ``1`` is bad, ``.`` is not. `halt`: what the halt says besides. `deployments`: in such
    seconds."""
    (tmp_path / "rules.yaml").write_text(RULES.format(budget=budget, cooldown=cooldown, halt=halt))
    both = zip(a, b.ljust(len(a), "."), strict=True)
    rows = [f"{T + 1_000 * i},{int(x == '1')},{int(y == '1')}" for i, (x, y) in enumerate(both)]
    (tmp_path / "h.csv").write_text("time,a,b\n" + "\n".join(rows) + "\n")
    loaded, problems = config.check_files([tmp_path / "rules.yaml"], environ={})
    assert loaded is not None, problems
    deployed = [T + 1_000 * i for i in deployments]
    return replay(loaded, loader.load([str(tmp_path / "h.csv")]), deployments=deployed)


def replayed_plans(report: ReplayReport) -> list[tuple[int, str, str | None]]:
    return [((one.t - T) // 1_000, one.plan, one.refused and one.refused.partition(" ")[0]) for one in report.plans]


def test_of_two_bots_each_is_replayed_on_its_own_series(tmp_path: Path) -> None:
    rules = RULES.format(budget="9 per 1h", cooldown="0s", halt="").replace("target: bot", "target: all")
    targets = "targets: {alpha: {repo: /a, sources: [a1]}, beta: {repo: /b, sources: [b1]}}"
    (tmp_path / "rules.yaml").write_text(targets + rules[rules.index("\nkpis") :])
    times = [T + 1_000 * i for i in range(12)]
    series = {
        (("__name__", name), ("source", source)): [(at, float(bad and at >= T + 5_000)) for at in times]
        for name, source, bad in (("a", "a1", False), ("b", "a1", False), ("a", "b1", False), ("b", "b1", True))
    }
    loaded, problems = config.check_files([tmp_path / "rules.yaml"], environ={})
    assert loaded is not None, problems
    own = loaded.target_by_source or {}
    pages = PageList([page_from_samples({retarget_key(key, own): points for key, points in series.items()}, T)])

    report = replay(loaded, pages)

    assert [(trip.target, trip.rule, dict(trip.labels)) for trip in report.trips] == [
        ("beta", "other", {"source": "b1"})
    ]
    assert [(start.target, start.plan) for start in report.plans] == [("beta", "halt")]


# ─ the example ─


def test_the_healthy_recording_trips_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(ROOT / "rules"), "--history", str(EXAMPLE / "healthy.csv"), "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["trips"] == told["plans"] == []
    assert told["to"] - told["from"] > 500_000
    judged = {rule["rule"] for rule in told["rules"] if rule["never_judged"] is None}
    assert judged >= {"regime-flapping", "confidence-drop", "no-ticks", "drawdown", "losing-streak"}


@pytest.mark.slow
def test_the_bad_version_is_found_by_the_rules_of_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    png = tmp_path / "bad.png"
    assert (
        main(
            [
                "replay",
                str(ROOT / "rules"),
                "--history",
                str(EXAMPLE / "bad_v2.csv"),
                "--json",
                "--png",
                str(png),
                "--incidents",
                str(EXAMPLE / "bad_v2_incidents.csv"),
            ]
        )
        == 0
    )

    told = json.loads(capsys.readouterr().out)
    scores = {(one["rule"], one["level"]): one for one in told["scores"]}
    for rule in ("regime-flapping", "confidence-drop"):
        found = scores[rule, "crit"]
        assert (found["hits"], found["misses"], found["false_alarms"]) == (1, 0, 0)
        assert 120_000 < found["delays_ms"][0] < 240_000
    assert scores["any", ""]["false_alarms"] == 0
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_table_says_when_how_long_and_how_often(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--history", str(EXAMPLE / "bad_v2.csv"), "--incidents", str(EXAMPLE / "bad_v2_incidents.csv")]
    assert main(["replay", str(ROOT / "rules" / "model.yaml"), *args]) == 0

    out = capsys.readouterr().out
    assert "confidence-drop" in out
    assert "a week" in out
    assert "1 labelled incident\n" in out
    assert "rollback" in out


# ─ plans ─


def test_a_trip_starts_its_plan_once_an_incident(tmp_path: Path) -> None:
    report = replay_csv(tmp_path, "..111..111..")

    assert [((trip.start - T) // 1_000, ((trip.end or 0) - T) // 1_000) for trip in report.trips] == [(3, 5), (8, 10)]
    assert replayed_plans(report) == [(3, "mend", None), (8, "mend", None)]


def test_a_trip_at_the_end_is_open(tmp_path: Path) -> None:
    (trip,) = replay_csv(tmp_path, "..111").trips

    assert trip.end is None


def test_within_the_cooldown_a_repair_waits_and_starts_when_it_is_over(tmp_path: Path) -> None:
    report = replay_csv(tmp_path, "..111..1111111..", cooldown="8s")

    assert replayed_plans(report) == [(3, "mend", None), (8, "mend", "the"), (11, "mend", None)]


def test_while_a_deployment_settles_a_repair_waits_and_a_halt_does_not(tmp_path: Path) -> None:
    report = replay_csv(tmp_path, "..11111111....", deployments=[1])
    assert replayed_plans(report) == [(3, "mend", "somebody"), (5, "mend", None)]

    halted = replay_csv(tmp_path, "..11111111....", "....11........", deployments=[1])
    assert replayed_plans(halted) == [(3, "mend", "somebody"), (4, "halt", None), (5, "mend", "a")]


def test_a_trip_that_is_over_before_the_deployment_has_settled_starts_nothing(tmp_path: Path) -> None:
    assert replayed_plans(replay_csv(tmp_path, "..11....", deployments=[1])) == [(3, "mend", "somebody")]


def test_over_budget_a_repair_is_refused(tmp_path: Path) -> None:
    report = replay_csv(tmp_path, "..111..111..111..", budget="2 per 1h")

    assert replayed_plans(report) == [(3, "mend", None), (8, "mend", None), (13, "mend", "the")]


def test_after_a_halt_no_repair_starts_in_the_incident_and_in_the_next_it_does(tmp_path: Path) -> None:
    report = replay_csv(tmp_path, "..11111....111..", ".11111..........")

    assert replayed_plans(report) == [(1, "halt", None), (3, "mend", "a"), (12, "mend", None)]


def test_after_a_halt_that_lets_it_a_repair_starts_until_its_time_is_over(tmp_path: Path) -> None:
    within = replay_csv(tmp_path, "..11111.........", ".11111..........", halt="after: repair, repair_within: 5s, ")
    too_late = replay_csv(tmp_path, "......1111......", ".1111111........", halt="after: repair, repair_within: 5s, ")

    assert replayed_plans(within) == [(1, "halt", None), (3, "mend", None)]
    assert replayed_plans(too_late) == [(1, "halt", None), (7, "mend", "a")]


def test_a_step_of_its_own_looks_less_often(tmp_path: Path) -> None:
    replay_csv(tmp_path, "." * 10 + "1" * 30 + "." * 10)
    loaded, _ = config.check_files([tmp_path / "rules.yaml"], environ={})
    assert loaded is not None

    report = replay(loaded, loader.load([str(tmp_path / "h.csv")]), every=7_000)

    assert [((trip.start - T) // 1_000, ((trip.end or 0) - T) // 1_000) for trip in report.trips] == [(21, 42)]


def test_from_and_to_judge_only_what_lies_between_and_windows_reach_before(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        "targets: {bot: {repo: /x}}\nkpis: {mean: {expr: 'avg_over_time(a[10s])'}}\n"
        "rules: [{name: mean, kpi: mean, target: bot, warn: {above: 0.5}}]\n"
    )
    (tmp_path / "h.csv").write_text("t,a\n" + "".join(f"{i},{int(i < 25)}\n" for i in range(60)))
    loaded, problems = config.check_files([tmp_path / "rules.yaml"], environ={})
    assert loaded is not None, problems

    report = replay(loaded, loader.load([str(tmp_path / "h.csv")]), start=20_000, end=40_000)

    (trip,) = report.trips
    assert (trip.start, trip.end) == (20_000, 29_000)


def test_progress_goes_up_to_one(tmp_path: Path) -> None:
    replay_csv(tmp_path, "..11..")
    loaded, _ = config.check_files([tmp_path / "rules.yaml"], environ={})
    assert loaded is not None
    shares: list[float] = []

    replay(loaded, loader.load([str(tmp_path / "h.csv")]), progress=shares.append)

    assert shares == sorted(shares)
    assert shares[-1] == 1


# ─ labelled incidents ─


def make_trip(start: int, end: int | None, rule: str = "r") -> ReplayTrip:
    return ReplayTrip(rule, "crit", "bot", (), start, end, "why", None, 0)


def test_hits_misses_false_alarms_and_delays() -> None:
    known = [
        LabelledIncident(100, 200, "one"),
        LabelledIncident(300, 400, "two"),
        LabelledIncident(900, 1_000, "three"),
    ]
    trips = [make_trip(150, 160), make_trip(170, 180), make_trip(250, 320), make_trip(500, 510)]

    mine, silent, together = score_labels(trips, known, [("r", "crit"), ("s", "crit")], 1_100)

    assert (mine.hits, mine.misses, mine.false_alarms, mine.delays, mine.missed) == (2, 1, 1, (50, 0), ("three",))
    assert (silent.hits, silent.misses, silent.delay) == (0, 3, None)
    assert (together.rule, together.hits, together.delay) == ("any", 2, 25)


def test_a_trip_that_still_fires_meets_what_comes_later() -> None:
    (mine, _) = score_labels([make_trip(50, None)], [LabelledIncident(100, 200, "one")], [("r", "crit")], 1_000)

    assert (mine.hits, mine.false_alarms, mine.delays) == (1, 0, (0,))


def test_labels_are_read_with_and_without_names_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("start,end\n1970-01-01T00:05:00Z,\n100,200\n")

    assert load_labels(path, 999_000) == [
        LabelledIncident(100_000, 200_000, "incident 2"),
        LabelledIncident(300_000, 999_000, "incident 1"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "cure"),
    [
        ("from,to\n1,2\n", 1, "no columns start and end"),
        ("start,end\n1,2\n2,1\n", 3, "swap"),
        ("start,end\nnow,2\n", 2, "no time"),
        ("start,end\n1\n", 2, "is a comma missing?"),
    ],
)
def test_labels_that_are_wrong_are_named_with_their_line(tmp_path: Path, text: str, line: int, cure: str) -> None:
    path = tmp_path / "l.csv"
    path.write_text(text)

    with pytest.raises(HistoryError, match=cure) as refused:
        load_labels(path, 0)
    assert str(refused.value).startswith(f"{path}:{line}: ")


def test_wrong_rules_and_wrong_history_are_told_and_nothing_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path), "--history", "x.csv"]) == 1
    assert "neither watchdog.yaml nor a rule file" in capsys.readouterr().err
    assert main(["replay", str(ROOT / "rules"), "--history", str(tmp_path / "x.csv")]) == 1
    assert "check the path" in capsys.readouterr().err


# ─ what cannot be evaluated ─


def test_what_fails_at_some_times_is_no_data_at_those_and_judged_at_the_others(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("""\
targets: {bot: {repo: /nowhere}}
kpis: {clash: {expr: a + on () d}}
defaults: {target: bot, if_missing: {after: 3s, then: hold}}
rules: [{name: clash, kpi: clash, warn: {above: 10}}]
""")
    rows = [f"{T + 1_000 * i},{20 if i in (5, 40) else 1},1,{1 if 20 <= i < 30 else 'stale'}" for i in range(60)]
    (tmp_path / "h.csv").write_text('time,a,"d{x=""1""}","d{x=""2""}"\n' + "\n".join(rows) + "\n")
    loaded, problems = config.check_files([tmp_path / "rules.yaml"], environ={})
    assert loaded is not None, problems
    report = replay(loaded, loader.load([str(tmp_path / "h.csv")]))

    assert [((trip.start - T) // 1_000, (trip.end or 0) - T) for trip in report.trips] == [(5, 6_000), (40, 41_000)]
    assert report.no_data["clash", "warn"] == [(T + 20_000, T + 30_000)]


def test_of_several_bots_each_has_its_own_trips_totals_and_rules_that_were_never_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules.yaml").write_text(
        "targets: {alpha: {sources: [a]}, beta: {sources: [b]}, gamma: {sources: [c]}}\n"
        "kpis: {x: {expr: x}}\nrules: [{name: high, kpi: x, target: all, warn: {above: 5}}]\n"
    )
    rows = "".join(f"{1_700_000_000 + n},{9 if n % 4 == 1 else 1},{9 if n == 2 else 1}\n" for n in range(12))
    (tmp_path / "x.csv").write_text('time,"x{source=""a""}","x{source=""b""}"\n' + rows)
    args = ["replay", str(tmp_path / "rules.yaml"), "--history", str(tmp_path / "x.csv")]

    assert main([*args, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["rules"]
    assert [(each["target"], each["trips"], each["never_judged"] is None) for each in told] == [
        ("alpha", 3, True),
        ("beta", 1, True),
        ("gamma", 0, False),
    ]
    assert main(args) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line.split(" (")[0] for line in lines if line.startswith("never")] == ["never judged: gamma: high"]
    totals = [line.split()[:4] for line in lines if line.startswith(("alpha:", "beta:"))]
    assert totals == [["alpha:", "high", "warn", "3"], ["beta:", "high", "warn", "1"]]
