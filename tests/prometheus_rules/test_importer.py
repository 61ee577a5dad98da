"""Prometheus's own rule files are read as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from watchdog import config
from watchdog.config import Config
from watchdog.prometheus_rules.cells import load_cells
from watchdog.rules import Patience

FILES = sorted((Path(__file__).parent / "files").glob("*.yaml"))
WriteConfig = Callable[[dict[str, str]], Path]


def prometheus_file(*rules: str, group: str = "") -> str:
    """A file with one group; each rule in flow style."""
    return f"groups:\n  - name: g\n{group}    rules:\n" + "".join(f"      - {{{rule}}}\n" for rule in rules)


def load(folder: Path) -> Config:
    return config.load(folder, environ={})


def load_errors(folder: Path) -> list[str]:
    checked, problems = config.check_files([folder], environ={})
    assert checked is None
    return [str(problem).removeprefix(f"{folder}/rules/") for problem in problems]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_as_people_have_them_load_whole(path: Path) -> None:
    checked, problems = config.check_files([path], environ={})

    assert not problems
    assert checked is not None
    # `alert:` stands once for each rule of ours
    assert len(checked.rules) == path.read_text().count("alert:") - path.read_text().count("# alert:")
    assert set(checked.prometheus_alerts) == set(checked.rules)


def test_an_alert_becomes_a_rule_with_its_patience_labels_and_runbook(write_config: WriteConfig) -> None:
    loaded = load(
        write_config(
            {
                "rules/p.yml": """\
groups:
  - name: bot
    labels: {team: trading, watchdog_target: bot}
    rules:
      - alert: Errors
        expr: rate(errors_total[5m]) > 0.5
        for: 1m30s
        keep_firing_for: 5m
        labels: {severity: page, area: 7, watchdog_plan: repair}
        annotations: {runbook_url: "https://wiki/errors", summary: "{{ $value }}"}
"""
            }
        )
    )

    rule = loaded.rules["Errors"]
    assert rule.crit is not None
    assert rule.warn is None
    assert rule.crit.expr == "rate(errors_total[5m]) > 0.5"
    assert (rule.crit.for_, rule.crit.clear_for, rule.crit.plan) == (Patience(duration=90_000), 300_000, "repair")
    assert (rule.target, rule.runbook) == ("bot", "https://wiki/errors")
    assert rule.labels == {"team": "trading", "area": "7"}


@pytest.mark.parametrize(
    ("severity", "level"),
    [("critical", "crit"), ("page", "crit"), ("warning", "warn"), ("info", "warn"), (None, "warn")],
)
def test_critical_and_page_are_crit_and_all_else_is_warn(
    write_config: WriteConfig, severity: str | None, level: str
) -> None:
    labels = f", labels: {{severity: {severity}}}" if severity else ""

    rule = load(write_config({"rules/p.yml": prometheus_file(f"alert: A, expr: a > 1{labels}")})).rules["A"]

    assert [each for each in ("warn", "crit") if getattr(rule, each) is not None] == [level]


def test_alerts_of_one_name_get_names_of_their_own(write_config: WriteConfig) -> None:
    loaded = load(
        write_config(
            {
                "rules/a.yml": prometheus_file(
                    "alert: A, expr: a > 1",
                    "alert: A, expr: a > 2, labels: {severity: critical}",
                    "alert: Two words, expr: a > 1",
                    "alert: base-halt, expr: a > 1",
                ),
                "rules/b.yml": prometheus_file(
                    "alert: B, expr: b > 1", "alert: B, expr: b > 2", "alert: C, expr: c > 1"
                ),
            }
        )
    )

    assert list(loaded.rules) == [
        "A.none",
        "A.critical",
        "Two-words",
        "base-halt.none",
        "g.B.none.1",
        "g.B.none.2",
        "C",
        "base-halt",
        "base-repair",
    ]
    assert loaded.prometheus_alerts["A.critical"].name == "A"


def test_the_only_target_is_meant_and_of_several_one_must_be_said(write_config: WriteConfig) -> None:
    two = {"rules/t.yaml": "targets: {other: {}}\n"}

    assert load(write_config({"rules/p.yml": prometheus_file("alert: A, expr: a > 1")})).rules["A"].target == "bot"
    assert load_errors(write_config({**two, "rules/p.yml": prometheus_file("alert: A, expr: a > 1")})) == [
        "p.yml:4:17: it is not said which target A belongs to — "
        "add the label watchdog_target to it or to its group, with one of bot, other"
    ]
    folder = write_config(
        {**two, "rules/p.yml": prometheus_file("alert: A, expr: a > 1", group="    labels: {watchdog_target: other}\n")}
    )
    assert load(folder).rules["A"].target == "other"


def test_without_any_target_alerts_are_told_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text(prometheus_file("alert: A, expr: a > 1"))

    checked, problems = config.check_files([tmp_path / "p.yml"], environ={})

    assert not problems
    assert checked is not None
    assert checked.rules["A"].target == "default"
    assert set(checked.targets) == {"default"}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("alert: A, expr: a >", "4:26: the expression cannot be read"),
        ("alert: A, expr: a > 1, for: 5", "4:38: '5' is no duration — a duration reads like 30s, 5m or 1h30m"),
        ("alert: A, expr: a > 1, four: 5m", "4:33: there is no key four — did you mean for?"),
        ("alert: A", "4:9: A has no expr"),
        ("alert: A, record: b, expr: a", "4:9: a rule says either record or alert"),
        ("record: b c, expr: a", "4:18: 'b c' is no name for a metric"),
        ("record: b, expr: a, for: 5m", "4:35: a recording rule has no for — delete it"),
        ("record: b, expr: b + 1", "4:27: b is recorded from itself (b → b) — break the circle"),
        ("alert: A, expr: a, labels: {a-b: c}", "4:43: 'a-b' is no name for a label"),
        ("alert: A, expr: a, annotations: {s: '{{ $valu }}'}", "4:46: undefined variable '$valu'"),
        (
            "alert: A, expr: a, annotations: {s: '{{ humanise 1 }}'}",
            "4:46: the template function 'humanise' is not supported",
        ),
        ("alert: A, expr: a, annotations: {s: '{{ if 1 }}'}", "4:46: {{ if }} has no {{ end }}"),
        ("alert: A, expr: a, annotations: {s: '{{ query `b(` }}'}", "4:46: query b(: the expression cannot be read"),
        ("alert: A, expr: 'limitk(2, a) > 1'", "4:26: the aggregation limitk is not supported"),
        ("alert: A, expr: sort_by_label(a) > 1", "4:26: the function sort_by_label is not supported"),
        ("alert: A, expr: 'ALERTS == 1'", "4:26: ALERTS is not kept as a series"),
        (
            "alert: A, expr: a, labels: {watchdog_plan: halt}",
            "4:53: a plan is started by a critical alert, and this one is warning"
            " — say severity: critical, or delete watchdog_plan",
        ),
        (
            "alert: A, expr: a, labels: {severity: page, watchdog_plan: hald}",
            "4:69: there is no plan hald — did you mean halt?",
        ),
        (
            "alert: A, expr: a, labels: {severity: page, watchdog_plan: repair}",
            "4:17: a crit that starts the repair repair needs patience — add for: 5m or for: 3 of 5",
        ),
        (
            "alert: A, expr: absent(a), for: 1m, labels: {severity: page, watchdog_plan: repair}",
            "4:86: missing data would start the repair repair: absent() is no proof that the bot is unwell — let a halt answer it",
        ),
        ("alert: A, expr: a, labels: {watchdog_target: bott}", "4:55: there is no target bott — did you mean bot?"),
        (
            "alert: A, expr: a, labels: {watchdog_target: '{{ $value }}'}",
            "4:55: watchdog_target is a name, and no template",
        ),
    ],
)
def test_a_mistake_stands_where_it_was_made(write_config: WriteConfig, rule: str, said: str) -> None:
    problems = load_errors(write_config({"rules/p.yml": prometheus_file(rule)}))

    assert len(problems) == 1
    assert problems[0].startswith(f"p.yml:{said}")


def test_a_file_may_not_hold_our_keys_beside_groups(write_config: WriteConfig) -> None:
    problems = load_errors(write_config({"rules/p.yml": prometheus_file("alert: A, expr: a > 1") + "kpis: {}\n"}))

    assert problems == ["p.yml:5:1: there is no key kpis — known: groups"]


def test_our_own_expressions_read_what_is_recorded(write_config: WriteConfig) -> None:
    loaded = load(
        write_config(
            {
                "rules/p.yml": prometheus_file(
                    "record: 'job:e:rate', expr: 'sum by (job) (rate(errors_total[5m]))'", group="    interval: 15s\n"
                ),
                "rules/ours.yaml": "kpis: {rate: {expr: 'max_over_time(job:e:rate[1h])'}}\n"
                "rules: [{name: r, kpi: rate, target: bot, warn: {above: 1}}]\n",
            }
        )
    )

    assert loaded.recordings["job:e:rate"][0].step == 15_000
    assert "Recorded" in repr(loaded.parse_expr(loaded.kpis["rate"].expr).node)


def test_what_an_alert_says_is_part_of_the_fingerprint(write_config: WriteConfig) -> None:
    prints = {
        load(
            write_config({"rules/p.yml": prometheus_file(f"alert: A, expr: a > 1, annotations: {{summary: {text}}}")})
        ).fingerprint
        for text in ("one", "two", "one")
    }

    assert len(prints) == 2


@pytest.mark.slow
def test_aliases_that_copy_without_end_are_refused(write_config: WriteConfig) -> None:
    many = ", ".join(["*r"] * 600)
    text = f"groups:\n  - {{name: a, rules: &l [&r {{alert: A, expr: a > 1, labels: {{a: b, c: d}}}}, {many}]}}\n"
    text += "".join(f"  - {{name: n{i}, rules: *l}}\n" for i in range(300))

    assert any(
        "the file stands for more than 200000 values" in problem
        for problem in load_errors(write_config({"rules/p.yml": text}))
    )


@pytest.mark.parametrize(
    "text", ["groups: " + "[" * 1_000_000, "groups: " + "{a: " * 100_000, "groups:\n- " + "- " * 100_000]
)
def test_brackets_without_end_kill_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yml").write_text(text)

    sheet, top = load_cells(tmp_path / "p.yml", "p.yml")

    assert top is None
    assert [str(problem) for problem in sheet.problems] == [
        "p.yml:1:1: is nested deeper than 50 levels — check the brackets"
    ]


def test_the_example_in_the_docs_loads(write_config: WriteConfig) -> None:
    page = (Path(__file__).parents[2] / "docs" / "prometheus.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    loaded = load(write_config({"rules/p.yml": block}))

    assert loaded.rules["HighErrors"].crit is not None
    assert loaded.rules["HighErrors"].crit.plan == "halt"
    assert loaded.rules["HighErrors"].labels == {"team": "trading"}
