"""`--explain` and the worst case: every fact of a rule is told, also what its file does not say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.conftest import BASE_RULES, MAIN_YAML, WriteConfig
from watchdog.cli.command_line import main
from watchdog.config import load
from watchdog.config.explain import explain_rule
from watchdog.config.latency import ROUND_INTERVAL, Delay, worst_delays
from watchdog.core.model import Verdict
from watchdog.rules import Patience
from watchdog.rules.state_machine import MachineConfig, MachineState, advance

MAIN_WITH_SLOW_SOURCE = MAIN_YAML.replace("sources:\n", "sources:\n  slow: {type: host, every: 1m}\n")
RULES = """\
plans:
  safe:
    kind: halt
    after: repair
    repair_within: 20m
    levels: [{name: stop, steps: [{do: flag, file: c.py, set: {TRADING: false}}], verify: {that: [entries == 0]}}]
kpis:
  plain: {expr: 'a{source="bot"}', help: What a is.}
  windowed: {expr: 'avg_over_time(b{source="slow"}[10m])', unit: ratio, baseline: 10%}
  proven: {expr: c, needs: 'increase(c[5m]) >= 250', since: resume, unit: seconds}
  learned: {expr: d, unit: bytes, baseline: {learn: 7d}}
rules:
  - {name: least, kpi: plain, target: bot, warn: {above: 5}}
  - name: most
    kpi: windowed
    target: bot
    warn: {above: 12%, for: 2 of 3}
    crit: {above: 2x baseline, ceiling: 30%, for: 5m, clear: 11%, clear_for: 10m, plan: repair}
    if_missing: {after: 1m, then: warn}
    only: {when: market_open == 1, between: "09:30-16:00", days: [mon-fri], timezone: Europe/Berlin}
    each: [side]
    runbook: https://example.com/most
  - name: quiet
    kpi: proven
    target: bot
    crit: {outside: [10s, 1m], plan: halt}
    if_missing: {after: 30s, then: crit}
    notify: []
  - {name: losses, kpi: plain, target: bot, crit: {above: 5, plan: safe}}
  - {name: condition, target: bot, warn: {expr: 'sum(e) > 3'}}
  - {name: grown, kpi: learned, target: bot, warn: {above: 2x baseline, ceiling: 3GiB}}
  - {name: gone, kpi: plain, target: bot, warn: {above: 5}, if_missing: {after: 10s, then: crit}}
"""
EXPECTED_FACTS = {
    "least": [
        'least watches plain of bot (What a is): a{source="bot"}.',
        "It is warn when its value is above 5, at once",
        "people are told and nothing is started, within 1 s (next read 1 s)",
        "That is over when its value is 5 or less.",
        "nothing to judge by for 2 m, its state is held",
        "Each set of labels has a state of its own; one that is gone for 1 d",
        "Told: chat (from warn).",
    ],
    "most": [
        "It is warn when its value is above 12 % in 2 of 3 reads",
        "within 2 m (next read 1 m + patience 1 m)",
        "without data within 4 m 2 s",
        "That is over when its value is 12 % or less.",
        "It is crit when its value is above 20 % (2x baseline, the baseline is 10 %; whichever is stricter of that and 30%)",
        "and stays so for 5 m: then the repair starts, within 6 m 1 s",
        "when its value is 11 % or less and has been for 10 m",
        "tries, until one is proven: flag (set NEW = false in config.py; proven when what tripped is well for 1 m, given up",
        "When none helps, the halt runs.",
        "A repair that failed latches bot until a person says resume.",
        "15 m after the last one and 10 m after somebody else deployed",
        "once samples cover the whole 10 m",
        "nothing to judge by for 1 m, that is warn",
        "awake only while market_open == 1 and on mon-fri and from 09:30-16:00 (Europe/Berlin); else it sleeps",
        "Each side has a state of its own",
        "stands at https://example.com/most.",
    ],
    "quiet": [
        "It is crit when its value is outside 10 s to 1 m, at once: then the halt starts, within 1 m (next read 1 m)",
        "That is over when its value is within 10 s to 1 m.",
        "The halt is never refused: stop (set TRADING = false in config.py; proven when entries == 0, given up after 30 s)",
        "It latches bot until a person says resume.",
        "What was before the last resume of bot is forgotten.",
        "It is believed only while increase(c[5m]) >= 250.",
        "nothing to judge by for 30 s, that is crit",
        "Nobody is told.",
    ],
    "losses": [
        "It latches bot until a person says resume.",
        "A repair of bot that is under way, or begins within 20 m, goes on behind it; what it switched off stays off.",
    ],
    "condition": [
        "condition watches bot.",
        "It is warn when sum(e) > 3 returns something, at once",
        "That is over when it returns nothing.",
    ],
    "grown": ["above 3 GiB (2x baseline, the baseline is learned over 7 d; whichever is stricter of that and 3GiB)"],
    "gone": ["nothing to judge by for 10 s, that is crit"],
}


@pytest.mark.parametrize("name", EXPECTED_FACTS)
def test_every_fact_of_a_rule_is_told(name: str, write_config: WriteConfig) -> None:
    config = load(write_config({"watchdog.yaml": MAIN_WITH_SLOW_SOURCE, "rules/x.yaml": RULES}), environ={})
    text = explain_rule(config, name)

    assert [fact for fact in EXPECTED_FACTS[name] if fact not in text] == [], text
    assert "\n" not in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("old", "new"), [("chat: {", "chat: {standby: true, "), ("bot: {unit", "bot: {notify: [], unit")]
)
def test_where_no_channel_hears_of_the_target_nobody_is_told(old: str, new: str, write_config: WriteConfig) -> None:
    files = {"watchdog.yaml": MAIN_WITH_SLOW_SOURCE, "rules/base.yaml": BASE_RULES, "rules/x.yaml": RULES}
    assert any(old in text for text in files.values())
    config = load(write_config({name: text.replace(old, new) for name, text in files.items()}), environ={})

    assert explain_rule(config, "least").endswith("Nobody is told.")


def test_every_shipped_rule_can_be_explained(write_config: WriteConfig) -> None:
    shipped = Path(__file__).parents[2] / "rules"
    folder = write_config(
        {f"rules/{path.name}": path.read_text() for path in shipped.glob("*.yaml")} | {"rules/base.yaml": ""}
    )
    config = load(folder, environ={})

    assert all(explain_rule(config, name).startswith(f"{name} watches ") for name in config.rules)


def test_the_command_explains_and_knows_the_nearest_name(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(write_config({"rules/x.yaml": RULES}))
    assert main(["check", folder, "--explain", "least"]) == 0
    assert capsys.readouterr().out.startswith("least watches plain of bot")
    assert main(["check", folder, "--explain", "leest"]) == 1

    assert "there is no rule 'leest' — did you mean least?" in capsys.readouterr().err


def test_check_tells_the_worst_case_of_each_rule(write_config: WriteConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(write_config({"watchdog.yaml": MAIN_WITH_SLOW_SOURCE, "rules/x.yaml": RULES}))]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert "least warn → told within 1 s (next read 1 s)" in lines
    assert "most crit → repair within 6 m 1 s (next read 1 m + patience 5 m 1 s)" in lines
    assert "gone crit → told without data within 15 s" in lines


@pytest.mark.parametrize(
    ("source", "text"),
    [("{type: host, every: 1s, max_age: 20s}", "22 s"), ("{type: statsd, every: 1s}", "1 m 2 s")],
)
def test_missing_data_trips_once_what_was_said_is_believed_no_more(
    source: str, text: str, write_config: WriteConfig
) -> None:
    rules = "rules: [{name: gone, kpi: errors, target: bot, crit: {below: 0}, if_missing: {after: 0s, then: crit}}]\n"
    config = load(write_config({"watchdog.yaml": f"sources: {{bot: {source}}}\n", "rules/x.yaml": rules}), environ={})
    (delay,) = (each for each in worst_delays(config) if each.rule == "gone")

    assert delay.describe().endswith(f"without data within {text}")


def test_without_sources_the_worst_case_is_not_known(write_config: WriteConfig) -> None:
    config = load(write_config({"watchdog.yaml": "channels: {}\n"}), environ={})

    assert {delay.describe() for delay in worst_delays(config)} == {"how soon is not known without sources"}


@settings(max_examples=60, deadline=None)
@given(
    every=st.sampled_from([300, 1_000, 5_000, 7_000]),
    phase=st.integers(0, 999),
    begins=st.integers(0, 20_000),
    patience=st.one_of(
        st.integers(0, 20_000).map(Patience),
        st.integers(1, 5).flatmap(lambda n: st.integers(n, 6).map(lambda m: Patience(0, n, m))),
    ),
)
def test_no_rule_takes_longer_than_its_worst_case(every: int, phase: int, begins: int, patience: Patience) -> None:
    """Reads on their grid, ticks on theirs, a value that is bad from some moment on."""
    held = (patience.n - 1) * every if patience.m else patience.duration + ROUND_INTERVAL if patience.duration else 0
    worst = Delay("r", "crit", None, every, held, None).worst
    machine, newest = MachineState(), 0
    for now in sorted({*range(0, 120_000, every), *range(phase, 120_000, ROUND_INTERVAL)}):
        newest = now if now % every == 0 else newest
        outcome = "bad" if newest >= begins else "ok"
        verdict = Verdict("r", "crit", (), outcome, "", 1.0, 0.0, outcome == "ok", newest + 1)  # type: ignore[arg-type]
        machine, _ = advance(machine, verdict, MachineConfig(patience), now)
        if machine.is_firing:
            assert worst is not None
            assert now - begins <= worst
            return
    pytest.fail("it never tripped")
