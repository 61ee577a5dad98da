"""One rule for several targets: what each of them makes of it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.conftest import WriteConfig
from watchdog.cli.command_line import main
from watchdog.config import Config, load
from watchdog.config.explain import explain_rule
from watchdog.documents.problems import ConfigError

MAIN = """\
sources:
  alpha: {type: scrape, url: "http://127.0.0.1:1/metrics", every: 1s}
  beta: {type: scrape, url: "http://127.0.0.1:2/metrics", every: 1s}
  host: {type: host, every: 1s, disks: [/]}
state: state
"""
TARGETS = """\
targets:
  alpha: {repo: /srv/alpha, sources: [alpha], vars: {flag: V2, bar: 1s, most: 10%}}
  beta: {repo: /srv/beta, sources: [beta], vars: {flag: GRID, bar: 20ms, most: 15%}}
"""
RULES = """\
kpis:
  loss: {expr: "1 - equity / max_over_time(equity[${max(600 * bar, 1m)}])", needs: "increase(bars[1m]) > 0", unit: ratio}
rules:
  - name: loss
    kpi: loss
    target: all
    warn: {above: "${most}", for: "${max(5 * bar, 1s)}"}
    crit: {at_least: 40%, plan: off}
    limits: {beta: {crit: {at_least: 50%, clear: 45%}}}
plans:
  off:
    kind: halt
    levels:
      - {name: off, steps: [{do: flag, file: config.py, set: {"${flag}": false}}], verify: {that: [alive == 0]}}
"""


def loaded(write_config: WriteConfig, rules: str = RULES, targets: str = TARGETS) -> Config:
    return load(write_config({"watchdog.yaml": MAIN, "rules/base.yaml": targets, "rules/b.yaml": rules}), environ={})


def problems(write_config: WriteConfig, rules: str = RULES, targets: str = TARGETS) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(write_config, rules, targets)
    return [
        f"{Path(each.file).name}:{each.line}:{each.column}: {each.what} — {each.cure}" for each in caught.value.problems
    ]


# ruff: noqa: E501


def test_each_target_has_its_limits_its_windows_and_its_flag(write_config: WriteConfig) -> None:
    config = loaded(write_config)

    limits = {(check.target, check.level): (check.limit, check.patience.duration) for check in config.checks}
    assert limits == {
        ("alpha", "warn"): (0.10, 5_000),
        ("alpha", "crit"): (0.40, 0),
        ("beta", "warn"): (0.15, 1_000),
        ("beta", "crit"): (0.50, 0),
    }
    plans = {name: config.plan("off", name) for name in config.targets}
    steps = {name: plan.levels[0].steps[0].describe() for name, plan in plans.items() if plan is not None}
    assert ("V2" in steps["alpha"], "GRID" in steps["beta"]) == (True, True)


def test_what_a_target_is_judged_by_is_asked_as_plain_promql_says_it(write_config: WriteConfig) -> None:
    asked = {name: kpi.expr for name, kpi in loaded(write_config).queries().items()}

    own = 'equity{target=~"alpha|"}'
    assert asked["loss@alpha"] == f"1 - {own} / max_over_time({own}[10m])"
    own = 'equity{target=~"beta|"}'
    assert asked["loss@beta"] == f"1 - {own} / max_over_time({own}[1m])"


def test_a_single_target_that_names_no_sources_is_asked_as_it_is_written(write_config: WriteConfig) -> None:
    config = loaded(
        write_config,
        targets="targets: {bot: {repo: /srv/bot, vars: {flag: V2, bar: 1s, most: 10%}}}\n",
        rules=RULES.replace("    limits: {beta: {crit: {at_least: 50%, clear: 45%}}}\n", ""),
    )

    assert config.queries()["loss@bot"].expr == "1 - equity / max_over_time(equity[10m])"
    assert config.target_by_source is None


@pytest.mark.parametrize(
    ("rules", "targets", "wanted"),
    [
        (RULES, TARGETS.replace("sources: [beta]", "sources: [betta]"), "base.yaml:3:37: there is no source betta — did you mean beta?"),
        (RULES, TARGETS.replace("sources: [beta]", "sources: [alpha]"), "base.yaml:3:37: the source alpha is alpha's own already — name it in one target, or in none: then all see it"),
        (RULES, TARGETS.replace("alpha:", "all:", 1), "base.yaml:2:3: all means every target — call this one something else"),
        (RULES.replace("target: all", "target: [alpha, all]"), TARGETS, "b.yaml:6:21: all is every target, and stands alone — say target: all"),
        (RULES.replace("target: all", "target: [alpha, gamma]"), TARGETS, "b.yaml:6:21: there is no target gamma — known: alpha, beta"),
        (RULES.replace("limits: {beta", "limits: {gamma"), TARGETS, "b.yaml:9:14: the rule does not speak for gamma — its targets: alpha, beta"),
        (RULES.replace("{crit: {at_least: 50%, clear: 45%}}", "{crti: {}}"), TARGETS, "b.yaml:9:21: crti is not known here — did you mean crit?"),
        (RULES, TARGETS.replace("flag: GRID, ", ""), "b.yaml:8:33: plan off needs the variable flag, and the target beta has none — add vars: {flag: …} to it"),
        (RULES.replace("${max(5 * bar, 1s)}", "1s"), TARGETS.replace("bar: 20ms, ", ""), "b.yaml:5:10: KPI loss needs the variable bar, and the target beta has none — add vars: {bar: …} to it"),
        (RULES.replace("5 * bar", "5 * baar"), TARGETS, "b.yaml:7:35: target alpha: there is no variable baar — did you mean bar?"),
        (RULES.replace("5 * bar", "5 * flag"), TARGETS, "b.yaml:7:35: target alpha: 5 * flag: a duration reads like 30s, 5m, 1h30m or 7d, not 'V2' — "),
        (RULES, TARGETS.replace("vars: {flag: V2", "vars: {9flag: V2"), "base.yaml:2:47: '9flag' is no name for a variable — use letters, digits and _"),
    ],
)  # fmt: skip
def test_a_mistake_about_targets_is_named_with_its_cure(
    write_config: WriteConfig, rules: str, targets: str, wanted: str
) -> None:
    assert wanted in problems(write_config, rules, targets)


def test_a_rule_for_a_target_that_there_is_not_has_that_one_mistake(write_config: WriteConfig) -> None:
    for said in ("gamma", "[alpha, gamma]"):
        (problem,) = problems(write_config, RULES.replace("target: all", f"target: {said}"))
        assert "there is no target gamma — known: alpha, beta" in problem


def test_a_variable_that_a_target_lacks_is_asked_for_once_for_all_rules_that_start_the_plan(
    write_config: WriteConfig,
) -> None:
    more = RULES.replace("plans:", "  - {name: gain, kpi: loss, target: all, crit: {below: 1%, plan: off}}\nplans:")

    (problem,) = problems(write_config, more, TARGETS.replace("flag: GRID, ", ""))

    assert "plan off needs the variable flag, and the target beta has none" in problem


def test_a_plan_with_a_mistake_beside_a_halt_that_waits_for_a_repair_is_one_mistake(write_config: WriteConfig) -> None:
    repair = """
  fix:
    kind: repair
    mode: auto
    exhausted: off
    levels: [{name: on, steps: [{do: flag, file: config.py, set: {A: false}}], verify: {quiet: "${5 * baar}"}}]
"""
    rules = RULES.replace("kind: halt", "kind: halt\n    after: repair")
    rules = rules.replace(
        "plans:", "  - {name: gain, kpi: loss, target: all, crit: {below: 1%, for: 1m, plan: fix}}\nplans:"
    )

    found = problems(write_config, rules + repair)

    assert all("there is no variable baar" in each for each in found)


def test_two_targets_that_are_judged_by_the_same_metrics_say_whose_they_are(write_config: WriteConfig) -> None:
    (problem,) = problems(write_config, targets=TARGETS.replace("sources: [beta], ", ""))

    assert problem == (
        "base.yaml:3:3: beta and alpha are judged by the same bars, equity, and nothing says whose they are — say sources: [those "
        "that are its own] in each target; what no target names is seen by all, and one that has none of its own says sources: []"
    )


def test_what_the_machine_says_is_everybodys(write_config: WriteConfig) -> None:
    rules = "kpis: {disk: {expr: host_disk_free_ratio, unit: ratio}}\n"
    rules += "rules: [{name: disk, kpi: disk, target: all, warn: {below: 10%}}]\n"

    config = loaded(write_config, rules, "targets: {alpha: {repo: /srv/alpha}, beta: {repo: /srv/beta}}\n")

    assert [check.target for check in config.checks] == ["alpha", "beta"]


def test_a_selector_that_names_its_source_is_nobody_elses(write_config: WriteConfig) -> None:
    rules = "kpis: {a: {expr: 'equity{source=\"alpha\"}'}, b: {expr: 'equity{source=\"beta\"}'}}\n"
    rules += "rules: [{name: a, kpi: a, target: alpha, warn: {below: 10}}, {name: b, kpi: b, target: beta, warn: {below: 10}}]\n"

    config = loaded(write_config, rules, "targets: {alpha: {repo: /srv/alpha}, beta: {repo: /srv/beta}}\n")

    assert [check.rule for check in config.checks] == ["a", "b"]


def test_a_name_in_braces_that_nobody_declares_is_text(write_config: WriteConfig) -> None:
    plan = "plans: {p: {kind: halt, levels: [{name: l, steps: [{do: command, run: [sh, -c, 'echo ${HOME}']}], verify: {that: [a == 0]}}]}}\n"
    rules = "rules: [{name: a, target: alpha, crit: {expr: equity < 0, plan: p}}]\n"

    config = loaded(write_config, plan + rules)

    found = config.plan("p", "alpha")
    assert found is not None
    assert "${HOME}" in repr(found.levels[0].steps[0])


def test_defaults_may_speak_for_all_targets_and_hold_variables(write_config: WriteConfig) -> None:
    rules = "kpis: {loss: {expr: equity}}\ndefaults: {target: all, for: '${5 * bar}'}\n"
    rules += "rules: [{name: loss, kpi: loss, warn: {below: 5}}]\n"

    config = loaded(write_config, rules)

    assert [(check.target, check.patience.duration) for check in config.checks] == [("alpha", 5_000), ("beta", 100)]


@pytest.mark.parametrize("number", [1, 2, 40])
def test_one_file_serves_one_two_and_forty_bots(write_config: WriteConfig, number: int) -> None:
    names = [f"bot-{index}" for index in range(number)]
    main = "sources:\n" + "".join(
        f'  {name}: {{type: scrape, url: "http://127.0.0.1:1/{name}", every: 1s}}\n' for name in names
    )
    targets = "targets:\n" + "".join(
        f"  {name}: {{repo: /srv/{name}, sources: [{name}], vars: {{flag: V2, bar: 1s, most: 10%}}}}\n"
        for name in names
    )
    rules = RULES.replace("    limits: {beta: {crit: {at_least: 50%, clear: 45%}}}\n", "")
    folder = write_config({"watchdog.yaml": main, "rules/base.yaml": targets, "rules/b.yaml": rules})

    config = load(folder, environ={})

    assert len(config.checks) == 2 * number
    assert len(config.queries()) == number


def test_a_target_counts_its_own_times_in_its_own_bars(write_config: WriteConfig) -> None:
    settling = TARGETS.replace("{repo: /srv/alpha,", '{repo: /srv/alpha, settling: "${15 * bar}",')
    config = loaded(
        write_config,
        targets=settling.replace("{repo: /srv/beta,", '{repo: /srv/beta, cooldown: "${max(15 * bar, 1m)}",'),
    )

    assert config.targets["alpha"].settling == 15_000
    assert config.targets["beta"].cooldown == 60_000
    assert config.targets["beta"].settling == 600_000


def test_a_target_names_only_variables_of_its_own(write_config: WriteConfig) -> None:
    wrong = TARGETS.replace("{repo: /srv/beta,", '{repo: /srv/beta, settling: "${15 * bat}",')

    assert problems(write_config, targets=wrong) == ["base.yaml:3:37: there is no variable bat — did you mean bar?"]


def test_what_a_rule_does_is_told_with_every_expression_as_it_is_asked(write_config: WriteConfig) -> None:
    rules = RULES.replace("crit: {at_least", "only: {when: market == 1}\n    crit: {at_least", 1)

    alpha, beta = explain_rule(loaded(write_config, rules), "loss").split("\n\n")

    for metric in ("equity", "bars", "market", "alive"):
        assert f'{metric}{{target=~"alpha|"}}' in alpha
        assert f'{metric}{{target=~"beta|"}}' in beta


def test_what_a_rule_does_for_one_of_its_targets_can_be_asked(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(write_config({"watchdog.yaml": MAIN, "rules/base.yaml": TARGETS, "rules/b.yaml": RULES}))

    assert main(["check", "--config", folder, "--explain", "loss@beta"]) == 0
    assert capsys.readouterr().out.startswith("loss watches loss of beta:")
    assert main(["check", "--config", folder, "--explain", "loss@betta"]) == 1
    assert "there is no target 'betta' — did you mean beta?" in capsys.readouterr().err


def test_of_two_targets_that_are_read_or_wait_otherwise_it_is_not_said_that_the_same_holds(
    write_config: WriteConfig,
) -> None:
    rules = "rules: [{name: loss, target: all, crit: {expr: equity < 1, for: 5s}}]\n"

    def told(targets: str, main: str = MAIN) -> int:
        files = {"watchdog.yaml": main, "rules/base.yaml": targets, "rules/b.yaml": rules}
        return len(explain_rule(load(write_config(files), environ={}), "loss").split("\n\n"))

    alike = "targets: {alpha: {repo: /srv/alpha, sources: [alpha]}, beta: {repo: /srv/beta, sources: [beta]}}\n"
    assert told(alike) == 1
    assert told(alike.replace("sources: [beta]", "sources: [beta], cooldown: 1m")) == 2
    assert told(alike, MAIN.replace('/metrics", every: 1s}\n  host', '/metrics", every: 9s}\n  host')) == 2


def test_a_target_that_there_is_not_hides_no_other_mistake_and_lacks_no_variable(write_config: WriteConfig) -> None:
    rules = RULES.replace("target: all", "target: nosuch").replace('"${most}"', "12 parsecs")
    rules = rules.replace("    limits: {beta: {crit: {at_least: 50%, clear: 45%}}}\n", "")

    assert problems(write_config, rules) == [
        "b.yaml:6:13: there is no target nosuch — known: alpha, beta",
        "b.yaml:7:19: unit 'parsecs' does not fit a KPI in ratio — say a share such as 10%",
    ]


def test_check_says_what_every_bot_is_judged_by_since_none_calls_it_its_own(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    def notes(targets: str) -> list[str]:
        folder = write_config({"watchdog.yaml": MAIN, "rules/base.yaml": targets, "rules/b.yaml": RULES})
        assert main(["check", "--config", str(folder)]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if "as its own" in line]

    assert notes(TARGETS) == []  # the host is everybody's
    without_beta = "".join(line for line in TARGETS.splitlines(keepends=True) if "beta" not in line)
    rules = RULES.replace("    limits: {beta: {crit: {at_least: 50%, clear: 45%}}}\n", "")
    folder = write_config({"watchdog.yaml": MAIN, "rules/base.yaml": without_beta, "rules/b.yaml": rules})
    assert main(["check", "--config", str(folder)]) == 0
    assert (
        "note: no target names beta as its own, so every target is judged by that, too: right for a market feed, wrong for a bot"
        in capsys.readouterr().out
    )


def test_what_other_labels_tell_apart_is_nobody_elses(write_config: WriteConfig) -> None:
    rules = "kpis: {a: {expr: 'equity{bot=\"alpha\"}'}, b: {expr: 'equity{bot=\"beta\"}'}}\n"
    rules += "rules: [{name: a, kpi: a, target: alpha, warn: {below: 10}}, {name: b, kpi: b, target: beta, warn: {below: 10}}]\n"

    config = loaded(write_config, rules, "targets: {alpha: {repo: /srv/alpha}, beta: {repo: /srv/beta}}\n")

    assert [check.rule for check in config.checks] == ["a", "b"]


def test_a_plan_that_is_not_well_and_a_rule_that_starts_it_are_one_mistake(write_config: WriteConfig) -> None:
    wrong = RULES.replace("file: config.py, set:", "file: 5, set:")

    assert problems(write_config, wrong) == ["b.yaml:14:46: file should be text — put it in quotes"]
