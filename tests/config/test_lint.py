"""Warnings: one doubt each, from lint_cases.txt, at its place; and what is sound stays without."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.config.conftest import MAIN_YAML, WriteConfig
from watchdog.config import load
from watchdog.documents.problems import Problem

MAIN_WITH_SLOW_SOURCE = MAIN_YAML.replace("sources:\n", "sources:\n  slow: {type: host, every: 1m}\n")
CASES = {
    name: (text, fragment)
    for name, fragment, text in re.findall(
        r"^=== (.+?) \| (.+)\n((?:(?!===).*\n)+)", (Path(__file__).parent / "lint_cases.txt").read_text(), re.MULTILINE
    )
}

PLAN = (
    "plans: {p: {kind: repair, mode: auto, exhausted: leave-running, verify: {quiet: 1m}, "
    "levels: [{name: l, steps: [{do: systemd, restart: unit}]}]}}\n"
)


def lint_warnings(write_config: WriteConfig, text: str, main: str = MAIN_WITH_SLOW_SOURCE) -> list[Problem]:
    return list(load(write_config({"watchdog.yaml": main, "rules/x.yaml": text}), environ={}).warnings)


@pytest.mark.parametrize("name", CASES)
def test_a_doubt_is_named_once_at_its_place(name: str, write_config: WriteConfig) -> None:
    text, fragment = CASES[name]
    at = text.index("»")
    (doubt,) = lint_warnings(write_config, text.replace("»", ""))

    assert (doubt.line, doubt.column) == (text[:at].count("\n") + 1, at - text.rfind("\n", 0, at))
    assert fragment in f"{doubt.what} — {doubt.cure}"
    assert doubt.cure


@pytest.mark.parametrize(
    "text",
    [
        "rules: [{name: x, kpi: share, target: bot, warn: {above: 100%}}]",
        "kpis: {x: {expr: 'increase(a[10s])', needs: 'increase(a[10s]) >= 250'}}",
        "kpis: {x: {expr: '1 - equity / max_over_time(equity[1d])', unit: ratio}}\n"
        "rules: [{name: x, kpi: x, target: bot, warn: {above: 7%}, crit: {at_least: 10%, clear: 8%}}]",
        "kpis: {x: {expr: 'changes(a[1h])'}}\nrules: [{name: x, kpi: x, target: bot, warn: {above: 0, clear: 0}}]",
        "kpis: {x: {expr: 'streak_below_over_time(a[1h], 0)'}}\n"
        "rules: [{name: x, kpi: x, target: bot, warn: {at_least: 5, clear: 1}}]",
        "kpis: {x: {expr: up}}\nrules: [{name: x, kpi: x, target: bot, warn: {below: 1}, crit: {equals: 0}}]",
        "kpis: {x: {expr: 'sum by (side) (a)'}}\nrules: [{name: x, kpi: x, target: bot, each: [side], warn: {above: 7}}]",
        "kpis: {x: {expr: 'topk(1, a)'}}\nrules: [{name: x, kpi: x, target: bot, warn: {above: 7}}]",
        "rules: [{name: x, kpi: errors, target: bot, warn: {above: 7, for: 2 of 3}, crit: {above: 8, for: 1s}}]",
        "rules: [{name: x, kpi: errors, target: bot, warn: {above: 7}, only: {when: 'market_open == 1 and hour() >= 9'}}]",
        "kpis: {x: {expr: 'a{version!=\"\"}'}}\nrules: [{name: x, kpi: x, target: bot, crit: {above: 7}}]",
        PLAN + "rules: [{name: x, kpi: errors, target: bot, each: [pair], crit: {above: 7, for: 1m, plan: p}}]",
        PLAN + "kpis: {x: {expr: 'max without (pid) (a{pid!=\"\"})'}}\n"
        "rules: [{name: x, kpi: x, target: bot, each: [pair], crit: {above: 7, for: 1m, plan: p}}]",
        PLAN + "rules: [{name: x, target: bot, crit: {expr: 'max by (pid) (a) > 7', for: 1m, plan: p}, each: [pid]}]",
        "kpis: {x: {expr: 'rate(a[2s])'}}",
        "targets:\n  one: {sources: [], process: {pid_file: bot.pid, command: [python, bot.py], cwd: /srv/one}}\n"
        "  other: {sources: [], process: {pid_file: bot.pid, command: [python, bot.py], cwd: /srv/other}}",
        "targets:\n  one: {sources: [], process: {pid_file: one.pid, command: [python, bot.py, one.json], cwd: /srv/bots}}\n"
        "  other: {sources: [], process: {pid_file: other.pid, command: [python, bot.py, other.json], cwd: /srv/bots}}",
        "kpis: {x: {expr: 'max_over_time(a[1h] @ end())'}}",
    ],
)
def test_what_is_sound_raises_no_doubt(text: str, write_config: WriteConfig) -> None:
    assert lint_warnings(write_config, text + "\n") == []


@pytest.mark.parametrize(
    "told", ["{type: statsd}", "{type: push, token_file: token}", "{type: heartbeat, token_file: token}"]
)
@pytest.mark.parametrize(
    "text",
    [
        "rules: [{name: x, kpi: errors, target: bot, warn: {above: 7, for: 1s}}]",
        "kpis: {x: {expr: 'rate(a[2s])', needs: 'count_over_time(a[10s]) >= 250'}}",
    ],
)
def test_of_what_is_told_nobody_knows_how_soon_it_is_told_again(
    text: str, told: str, write_config: WriteConfig
) -> None:
    main = MAIN_YAML.replace("sources:\n", f"sources:\n  told: {told}\n")

    assert lint_warnings(write_config, text + "\n", main) == []


@pytest.mark.parametrize(
    ("channel", "key"),
    [
        ('{type: telegram, token: "1:abc", chat: -1, answers: true}', "answers"),
        ("{type: slack, token: xoxb-12345678, app_token: xapp-1234, channel: C0123456}", "app_token"),
        ("{type: slack, token: xoxb-12345678, app_token_file: file, channel: C0123456}", "app_token_file"),
        ('{type: telegram, token: "1:abc", chat: -1, answers: false}', None),
        ('{type: telegram, token: "1:abc", chat: -1}', None),
    ],
)
def test_answers_that_nobody_may_give_are_doubted(channel: str, key: str | None, write_config: WriteConfig) -> None:
    main = f"channels: {{chat: {channel}}}\nsources: {{bot: {{type: host, every: 1s}}}}\n"

    found = lint_warnings(write_config, "", main)

    said = [f"{key} is for people's answers, and nobody may answer"] if key else []
    assert [each.what for each in found] == said
    if "answers: false" not in channel:
        assert lint_warnings(write_config, "", f"{main}people: {{ann: {{slack: U0123ABCD, telegram: 11}}}}\n") == []


def test_without_sources_nothing_is_said_about_their_rhythm(write_config: WriteConfig) -> None:
    text = "rules: [{name: x, kpi: errors, target: bot, warn: {above: 7, for: 500ms}}]\nkpis: {x: {expr: 'a{source=\"y\"}'}}\n"

    assert [each.what for each in lint_warnings(write_config, text, "channels: {}\n")] == [
        "there is no channel: messages go to the log",
        "there is no source: nothing can be judged",
    ]
