"""Who may answer: each with ids of their own, and heard by some channel."""

from __future__ import annotations

import pytest

from tests.config.conftest import MAIN_YAML, WriteConfig
from watchdog.config import load
from watchdog.documents.problems import ConfigError

MAIN = """\
sources:
  bot: {type: scrape, url: "http://127.0.0.1:8000/metrics"}
channels:
  tg: {type: telegram, token: "1:abc", chat: -1}
"""
PLANS = """\
plans:
  p: {kind: repair, mode: auto, exhausted: leave-running, verify: {quiet: 1m}, two_people: true,
      levels: [{name: l, steps: [{do: systemd, restart: unit}]}]}
"""


def warnings_of(write_config: WriteConfig, people: str, rules: str = "") -> list[str]:
    files = {"watchdog.yaml": MAIN + people, "rules/x.yaml": rules}
    return [problem.what for problem in load(write_config(files), environ={}).warnings]


def test_people_are_read_with_what_they_may_do(write_config: WriteConfig) -> None:
    config = load(write_config({"watchdog.yaml": MAIN_YAML + "people: {ann: {telegram: 1, may: act}}\n"}), environ={})

    assert {name: person.may for name, person in config.people.items()} == {"ann": "act"}


@pytest.mark.parametrize("ids", ["telegram: 7", "slack: U0123ABCD"])
def test_two_people_have_no_id_in_common(write_config: WriteConfig, ids: str) -> None:
    people = f"people:\n  ann: {{{ids}}}\n  bob: {{{ids}}}\n"
    with pytest.raises(ConfigError) as caught:
        load(write_config({"watchdog.yaml": MAIN_YAML + people}), environ={})

    (problem,) = caught.value.problems
    assert problem.what == f"bob has the {ids.split(':')[0]} id of ann"
    assert problem.line == (MAIN_YAML + people).count("\n")


def test_who_is_heard_by_no_channel_is_warned_of(write_config: WriteConfig) -> None:
    found = warnings_of(write_config, "people: {ann: {slack: U0123ABCD}}\n")

    assert "ann is known by slack, and no channel there hears answers" in found


@pytest.mark.parametrize(
    ("people", "able"),
    [
        ("", "nobody"),
        ("people: {ann: {telegram: 1, may: act}, bob: {telegram: 2}}\n", "1"),
        ("people: {ann: {telegram: 1, may: act}, bob: {telegram: 2, may: act}}\n", ""),
    ],
)
def test_a_plan_for_two_people_wants_two_who_may_act(write_config: WriteConfig, people: str, able: str) -> None:
    expected = [f"p wants two people, and {able} of people: may act"] if able else []

    assert [what for what in warnings_of(write_config, people, PLANS) if "two people" in what] == expected
