"""Our rules written out for a Prometheus server: promtool takes them, and they fire where ours do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from watchdog import config
from watchdog.cli.command_line import main
from watchdog.config import Config
from watchdog.offline.history import loader
from watchdog.offline.replay.engine import ReplayReport, replay
from watchdog.offline.ruletest.runner import run_tests
from watchdog.offline.ruletest.test_definition import load_test_file
from watchdog.prometheus_rules.exporter import Export, export_prometheus

ROOT = Path(__file__).parent.parent.parent
NAMES = sorted(path.name for path in (ROOT / "rules").glob("*.yaml"))
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

BROAD_RULES = """\
targets: {bot: {}, paper-bot: {}}
kpis:
  share: {expr: good / all, unit: ratio, baseline: 8%, needs: all > 100, help: "Share of the good: as it is"}
  temp: {expr: temperature, unit: count, baseline: 20}
  rate: {expr: "sum(rate(errors_total[5m]))", needs: "sum(increase(errors_total[5m])) > 10", unit: percent}
  memory: {expr: "resident # in bytes", unit: bytes, baseline: 1GiB}
  learned: {expr: temperature, baseline: {learn: 7d}}
  account: {expr: "1 - equity / max_over_time(equity[30d])", since: resume, unit: ratio}
  falls: {expr: "max_drawdown_over_time(equity[1d])", unit: ratio}
  age: {expr: time() - tick, unit: seconds}
  pnl: {expr: pnl, unit: USD}
plans:
  stop: {kind: halt, levels: [{name: a, steps: [{do: command, run: ["true"]}], verify: {that: [up == 0]}}]}
defaults: {target: bot}
rules:
  - {name: a, kpi: share, warn: {above: 12%}, crit: {at_least: 15%, for: 5m, clear: 12%, clear_for: 10m, plan: stop},
     summary: "{{ value }} of {{ labels.x }} {{ labels }}, {{ limit }} {{ baseline }} {{ name }}", runbook: "https://x"}
  - {name: b, kpi: temp, warn: {below: -5, for: 3 of 5}, crit: {at_most: -10, for: 2 of 2, clear: -8}, labels: {team: "it's"}}
  - {name: c, kpi: temp, warn: {outside: [10, 30], clear: [12, 28]}, crit: {equals: 0}, summary: "{{ duration }}"}
  - {name: d, kpi: rate, crit: {above: 2%}, only: {when: market_open == 1, between: "09:30-16:00", days: [mon-fri]}}
  - {name: e, kpi: memory, crit: {above: 2x baseline, ceiling: 3GiB}, only: {between: "22:00-06:00", timezone: Europe/Berlin}}
  - {name: f, kpi: learned, warn: {above: 2x baseline, ceiling: 50}}
  - {name: g, kpi: account, crit: {at_least: 10%, plan: stop}}
  - {name: h, kpi: falls, warn: {above: 10%}}
  - {name: i, kpi: age, crit: {above: 60s, plan: stop}, if_missing: {after: 1m, then: crit}, summary: "{{ value }}"}
  - {name: j, kpi: pnl, target: paper-bot, warn: {below: -100}, if_missing: {then: crit}, summary: "{{ value }}"}
  - {name: k, target: paper-bot, warn: {expr: "a > 1 and b < 2 # two\\n", for: 1m}, crit: {expr: absent(a)}}
  - {name: l, kpi: temp, warn: {above: 30}, only: {between: "22:00-06:00", days: [mon]}}
  - {name: m, kpi: temp, warn: {above: 0.00001}, only: {between: "22:00-06:00"}}
"""


def load_checked(folder: Path, **files: str) -> Config:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    found, problems = config.check_files([folder], environ={})
    assert not problems
    assert found is not None
    return found


def promtool(*args: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def exported_alerts(made: Export) -> dict[tuple[str, str, bool], dict[str, object]]:
    """(name, severity, of missing data) → alert."""
    listed = [rule for group in yaml.safe_load(made.text)["groups"] for rule in group["rules"] if "alert" in rule]
    return {(rule["alert"], rule["labels"]["severity"], "watchdog_missing" in rule["labels"]): rule for rule in listed}


@needs_promtool
@pytest.mark.parametrize("name", ["shipped", "wide", "theirs"])
def test_promtool_accepts_what_is_written(tmp_path: Path, name: str) -> None:
    match name:
        case "shipped":
            known = load_checked(ROOT / "rules")
        case "wide":
            known = load_checked(tmp_path, ours=BROAD_RULES)
        case _:
            for each in (Path(__file__).parent / "files").glob("*.yaml"):
                shutil.copy(each, tmp_path)
            known = load_checked(tmp_path)
    made = export_prometheus(known)
    (tmp_path / "exported.rules").write_text(made.text)

    said = promtool("check", "rules", tmp_path / "exported.rules")

    recordings = sum(map(len, known.recordings.values()))
    assert f"{made.alerts + recordings} rules found" in said


def test_limits_of_every_kind_stand_in_raw_units(tmp_path: Path) -> None:
    found = {
        key: str(rule["expr"])
        for key, rule in exported_alerts(export_prometheus(load_checked(tmp_path, ours=BROAD_RULES))).items()
    }

    assert found["a", "warning", False] == "((good / all) > 0.12) and (all > 100)"
    assert found["c", "critical", False] == "(temperature) == 0"
    assert found["d", "critical", False] == (
        "((sum(rate(errors_total[5m]))) > 2) and on () (sum(increase(errors_total[5m])) > 10) and on () (market_open == 1)"
        " and on () (hour() * 60 + minute() >= 570 < 960)"
        " and on () (day_of_week() == 1 or day_of_week() == 2 or day_of_week() == 3 or day_of_week() == 4 or day_of_week() == 5)"
    )
    assert found["e", "critical", False] == "(\nresident # in bytes\n) > 2147483648"
    assert found["f", "warning", False] == "(temperature) > 50"
    assert found["i", "critical", True] == "absent(time() - tick)"
    assert found["b", "warning", False].startswith(
        "((temperature) < -5) and count_over_time(((temperature) < -5)[1m14s999ms:15s])"
    )
    assert found["m", "warning", False].endswith("(hour() * 60 + minute() >= 1320 or hour() * 60 + minute() < 360)")


def test_labels_and_annotations_are_those_of_the_rule(tmp_path: Path) -> None:
    found = exported_alerts(export_prometheus(load_checked(tmp_path, ours=BROAD_RULES)))["a", "critical", False]

    assert found["labels"] == {"severity": "critical", "watchdog_target": "bot", "watchdog_plan": "stop"}
    assert found["for"] == "5m"
    assert found["keep_firing_for"] == "10m"
    assert found["annotations"] == {
        "summary": "{{ $value | humanizePercentage }} of {{ $labels.x }} "
        "{{ range $name, $text := $labels }}{{ $name }}={{ $text }} {{ end }}, 15 % 8 % a",
        "description": "Share of the good: as it is",
        "runbook_url": "https://x",
    }


def test_what_prometheus_cannot_say_is_a_comment_and_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ours.yaml").write_text(BROAD_RULES)

    assert main(["check", "--export", "prometheus", str(tmp_path)]) == 0

    out, err = capsys.readouterr()
    comments = re.findall("# not said: (.*)", out)
    for said in (
        "a (crit): the plan stop: only trading-watchdog carries it out",
        "b (warn): how often it is evaluated: 3 of 5 evaluations are taken 15s apart",
        "c (warn): {{ duration }} in its summary",
        "e (crit): only on the clocks of Europe/Berlin: Prometheus knows UTC",
        "f (warn): its relative limit, for the baseline is not known to Prometheus: the ceiling stands alone",
        "g (crit): since: resume; account looks back over its whole window",
        "h (warn): max_drawdown_over_time: Prometheus has no such function",
        "l (warn): only over midnight of certain days",
    ):
        assert said in comments
    assert out.rstrip().splitlines()[-1] == f"# {err.strip()}"
    assert re.fullmatch(
        rf"exported 18 alerts; {len(comments)} things Prometheus cannot say stand as comments", err.strip()
    )


FIRING_RULES = """\
targets: {{bot: {{}}}}
kpis: {{x: {{expr: x}}}}
rules: [{{name: x, kpi: x, target: bot, crit: {{{threshold}}}}}]
"""


@needs_promtool
@pytest.mark.parametrize(
    ("threshold", "values"),
    [
        ("above: 15", "10 16 15 16 14 20"),
        ("at_least: 15, for: 2m", "10 16 16 10 16 16 16 16 10 16"),
        ("above: 15, for: 2m, clear: 12", "10 16 16 16 13 13 12 13 16 16 11 13 16 16 16 14 11"),
        ("below: -5, for: 1m, clear: -2, clear_for: 2m", "0 -6 -6 -3 -1 -1 -3 -1 -1 -1 -6 -6 0 0 0 0"),
        ("outside: [10, 30], for: 1m, clear: [12, 28]", "20 31 31 29 27 29 9 9 11 20 20 35 5 11 15"),
        ("above: 15, for: 2 of 3", "10 16 10 16 16 10 10 10 16 16 16 10"),
        ("above: 15, for: 2 of 3, clear: 12", "10 16 10 16 14 14 11 14 16 10 10 16 16 13 10 10"),
        ("above: 15, clear_for: 3m", "10 16 10 10 16 10 10 10 10 10 16"),
        ('expr: "x > 15 or x < 5", for: 1m', "10 16 16 10 4 4 4 10 20 2 10"),
    ],
)
def test_an_exported_alert_fires_in_the_same_minutes_as_ours(tmp_path: Path, threshold: str, values: str) -> None:
    fired = _firing_times(tmp_path, FIRING_RULES.format(threshold=threshold), values)
    made = export_prometheus(load_checked(tmp_path)).text
    # Sources are read each minute here, and so is what counts evaluations.
    (tmp_path / "exported.rules").write_text(made.replace("[44s999ms:15s]", "[2m59s999ms:1m]"))
    expected = [
        {
            "eval_time": f"{minute}m",
            "alertname": "x",
            "exp_alerts": [{"exp_labels": {"severity": "critical", "watchdog_target": "bot"}}]
            if minute in fired
            else [],
        }
        for minute in range(1, len(values.split()))
    ]
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump(
            {
                "rule_files": ["exported.rules"],
                "evaluation_interval": "1m",
                "tests": [
                    {"interval": "1m", "input_series": [{"series": "x", "values": values}], "alert_rule_test": expected}
                ],
            }
        )
    )

    assert fired
    promtool("test", "rules", tmp_path / "test.yml")


def _firing_times(folder: Path, rules: str, values: str) -> set[int]:
    """The minutes in which our rule is crit."""
    (folder / "ours.yaml").write_text(rules)
    asked = [{"eval_time": f"{minute}m", "rule": "x", "state": "crit"} for minute in range(1, len(values.split()))]
    (folder / "watch.yml").write_text(
        yaml.safe_dump(
            {
                "rule_files": ["ours.yaml"],
                "evaluation_interval": "1m",
                "tests": [
                    {"interval": "1m", "input_series": [{"series": "x", "values": values}], "watchdog_rule_test": asked}
                ],
            }
        )
    )
    file, problems = load_test_file(folder / "watch.yml", {})
    assert not problems
    assert file is not None
    fired = {minute for minute, case in enumerate(run_tests(file), 1) if case.passed}
    (folder / "watch.yml").unlink()
    return fired


@pytest.mark.parametrize("recording", ["healthy", "bad_v2"])
def test_what_was_exported_and_read_back_trips_as_it_did(tmp_path: Path, recording: str) -> None:
    ours = load_checked(ROOT / "rules")
    for name in ("targets.yaml", "plans.yaml"):
        shutil.copy(ROOT / "rules" / name, tmp_path)
    theirs = load_checked(tmp_path, exported=export_prometheus(ours).text)
    pages = loader.load([str(ROOT / "examples" / "hmm_bot" / f"{recording}.csv")])

    before, after = replay(ours, pages), replay(theirs, pages)

    assert _reported_trips(after, theirs) == _reported_trips(before, ours)
    assert [(plan.plan, plan.t) for plan in after.plans] == [(plan.plan, plan.t) for plan in before.plans]
    assert bool(before.trips) == (recording == "bad_v2")


def _reported_trips(report: ReplayReport, known: Config) -> Sequence[tuple[object, ...]]:
    return sorted(
        (
            known.prometheus_alerts[trip.rule].name if trip.rule in known.prometheus_alerts else trip.rule,
            trip.level,
            trip.start,
            trip.end or 0,
        )
        for trip in report.trips
    )


def test_our_recovery_thresholds_and_counts_are_read_back(tmp_path: Path) -> None:
    ours = load_checked(tmp_path, ours=BROAD_RULES)
    other = tmp_path / "other"
    other.mkdir()
    text = (
        "targets: {bot: {}, paper-bot: {}}\n"
        + BROAD_RULES[BROAD_RULES.index("plans:") : BROAD_RULES.index("defaults:")]
    )
    theirs = load_checked(other, exported=export_prometheus(ours).text, rest=text)

    a, b = theirs.rules["a.critical"], theirs.rules["b.critical"]
    assert a.crit is not None
    assert b.crit is not None
    assert (a.crit.at_least, a.crit.clear, a.crit.clear_for, a.crit.plan) == (0.15, 0.12, 600_000, "stop")
    assert theirs.rules["c.warning"].warn is not None
    assert theirs.rules["c.warning"].warn.outside == (10, 30)
    assert theirs.rules["c.warning"].warn.clear == (12, 28)
    assert theirs.kpis["a.critical"].needs == "(all > 100)"
    assert (b.crit.at_most, b.crit.clear, b.crit.for_.describe()) == (-10, -8, "2 of 2 evaluations")


TWO_BOTS = """\
targets: {alpha: {sources: []}, beta: {sources: []}}
kpis: {x: {expr: sum(x)}}
rules: [{name: x, kpi: x, target: all, crit: {above: 10, clear: 5}, limits: {beta: {crit: {above: 20}}}}]
"""


@needs_promtool
def test_an_alert_that_has_fired_for_one_bot_lowers_no_limit_of_the_other(tmp_path: Path) -> None:
    made = export_prometheus(load_checked(tmp_path, ours=TWO_BOTS)).text
    (tmp_path / "exported.rules").write_text(made)
    alpha = {"exp_labels": {"severity": "critical", "watchdog_target": "alpha"}}
    test = {
        "input_series": [{"series": "x", "values": "1 12 12 12 12"}],
        "interval": "1m",
        "alert_rule_test": [{"eval_time": f"{n}m", "alertname": "x", "exp_alerts": [alpha]} for n in range(1, 5)],
    }
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["exported.rules"], "evaluation_interval": "1m", "tests": [test]})
    )

    promtool("test", "rules", tmp_path / "test.yml")


def test_what_is_written_for_several_bots_says_that_their_series_must_carry_their_names(tmp_path: Path) -> None:
    made = export_prometheus(load_checked(tmp_path, ours=TWO_BOTS)).text

    assert "# Those of a target's own sources must carry target, too: its name.\n" in made
    one = export_prometheus(load_checked(tmp_path, ours=FIRING_RULES.format(threshold="above: 15"))).text
    assert "must carry target" not in one


RECORDED = """\
groups:
- name: g
  rules:
  - {record: all, expr: sum(x)}
  - {record: twice, expr: all * 2}
  - {alert: A, expr: twice > 10, labels: {severity: critical, watchdog_target: alpha}}
  - {alert: B, expr: twice > 10, labels: {severity: critical, watchdog_target: beta}}
"""


@needs_promtool
def test_what_is_recorded_is_recorded_for_each_bot_by_itself(tmp_path: Path) -> None:
    targets = "targets: {alpha: {sources: []}, beta: {sources: []}}\n"
    made = export_prometheus(load_checked(tmp_path, targets=targets, theirs=RECORDED)).text
    (tmp_path / "exported.rules").write_text(made)
    beta = {"exp_labels": {"severity": "critical", "watchdog_target": "beta", "target": "beta"}}
    test = {
        "interval": "1m",
        "input_series": [
            {"series": 'x{target="alpha"}', "values": "1 1 1 1 1"},
            {"series": 'x{target="beta"}', "values": "9 9 9 9 9"},
            {"series": "x", "values": "2 2 2 2 2"},
        ],
        "alert_rule_test": [
            {"eval_time": "3m", "alertname": "A", "exp_alerts": []},
            {"eval_time": "3m", "alertname": "B", "exp_alerts": [beta]},
        ],
    }
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["exported.rules"], "evaluation_interval": "1m", "tests": [test]})
    )

    promtool("test", "rules", tmp_path / "test.yml")
