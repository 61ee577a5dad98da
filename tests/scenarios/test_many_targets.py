"""What befalls forty bots at once is one message, and each of them hears its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MAIN_YAML, PipelineHarness

BOTS = [f"bot{n:02}" for n in range(40)]
MAIN = MAIN_YAML.replace(
    "  pager:", "  desk: {type: slack, token: xoxb-12345678, channel: C0123458, from: info}\n  pager:"
)
RULES = f"""\
targets:
{"".join(f"  {bot}: {{repo: /srv/{bot}, vars: {{name: {bot}}}}}" + chr(10) for bot in BOTS)}
kpis:
  loss: {{expr: 'loss{{bot="${{name}}"}}', unit: ratio}}
rules:
  - {{name: loss, kpi: loss, target: all, warn: {{above: 5%}}, crit: {{above: 10%, plan: halt}}, notify: [chat, pager]}}
plans:
  halt:
    kind: halt
    levels:
      - {{name: stop, steps: [{{do: flag, file: config.py, set: {{T: false}}}}], verify: {{that: [alive == 1]}}}}
"""


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path, RULES, MAIN)
    lose(made, dict.fromkeys(BOTS, 0.01))
    made.rounds(2)
    yield made
    made.journal.close()


def lose(harness: PipelineHarness, losses: dict[str, float]) -> None:
    harness.labelled_series = [("loss", (("bot", bot),), loss) for bot, loss in losses.items()]


def messages(harness: PipelineHarness, channel: str = "chat") -> list[tuple[str, str, int | None, list[str]]]:
    rows = harness.journal.query(
        "SELECT severity, title, incident, lines FROM message WHERE channel = ? ORDER BY id", channel
    )
    return [(row["severity"], row["title"], row["incident"], json.loads(row["lines"])) for row in rows]


def test_a_rule_that_trips_on_forty_bots_in_one_round_is_one_message_with_the_worst_and_so_is_the_end(
    harness: PipelineHarness,
) -> None:
    lose(harness, {bot: 0.06 + n / 1_000 for n, bot in enumerate(BOTS)})
    harness.round()

    ((severity, title, incident, lines),) = messages(harness)
    assert (severity, title, incident) == ("warn", "loss tripped on 40 targets", None)
    assert lines[0] == "bot39: loss 9.9 % is above 5 % (bot=bot39, source=bot)"
    assert lines[5].startswith("and bot34, bot33, ")
    assert lines[5].endswith(" and 15 more")
    assert lines[6] == "incidents 1 to 40: trading-watchdog incidents"
    assert messages(harness, "pager") == messages(harness, "desk") == []
    assert len(harness.journal.incidents.list_targets_with_open_incident()) == 40

    lose(harness, dict.fromkeys(BOTS, 0.01))
    harness.round()
    ((severity, title, _, lines),) = messages(harness)[1:]
    assert (severity, title) == ("info", "40 incidents closed")
    assert lines[0].startswith("bot00: loss recovered, incident 1 closed after ")
    assert len(lines) == 22  # twenty of them, the rest, and the host
    assert messages(harness, "pager") == []
    assert harness.journal.messages.list_open_topics() == []


def test_an_escalation_on_forty_bots_is_one_message_that_says_what_is_done(harness: PipelineHarness) -> None:
    lose(harness, dict.fromkeys(BOTS, 0.06))
    harness.round()
    lose(harness, dict.fromkeys(BOTS, 0.2))
    harness.round()

    for channel in ("chat", "pager"):
        severity, title, _, lines = messages(harness, channel)[-1]
        assert (severity, title) == ("crit", "loss tripped on 40 targets")
        assert "halt starts on 40: level stop: set T = false in config.py" in " ".join(lines)
    assert len(messages(harness)) == 2
    assert len(harness.runs) == 40


def test_five_bots_are_told_one_by_one_each_in_its_own_thread(harness: PipelineHarness) -> None:
    lose(harness, dict.fromkeys(BOTS, 0.01) | dict.fromkeys(BOTS[:5], 0.06))
    harness.round()
    lose(harness, dict.fromkeys(BOTS, 0.01))
    harness.round()

    assert [title for _, title, _, _ in messages(harness)][:5] == [f"{bot}: loss tripped" for bot in BOTS[:5]]
    assert [incident for _, _, incident, _ in messages(harness)] == [1, 2, 3, 4, 5] * 2


def test_of_many_that_recover_one_by_one_each_is_told(harness: PipelineHarness) -> None:
    lose(harness, dict.fromkeys(BOTS, 0.06))
    harness.round()
    lose(harness, dict.fromkeys(BOTS, 0.06) | {"bot07": 0.01})
    harness.round()

    (_, title, incident, lines) = messages(harness)[-1]
    assert title.startswith("bot07: loss recovered, incident 8 closed")
    assert incident == 8
    assert lines[0] == "loss 1 % is not above 5 %"


def test_many_that_are_no_longer_critical_are_one_message(harness: PipelineHarness) -> None:
    harness.reload(RULES.replace(", plan: halt", ""), MAIN)
    lose(harness, dict.fromkeys(BOTS, 0.2))
    harness.round()
    lose(harness, dict.fromkeys(BOTS, 0.06))
    harness.round()

    assert [title for _, title, _, _ in messages(harness)] == [
        "loss tripped on 40 targets",
        "loss recovered on 40 targets",
    ]
    assert messages(harness)[-1][3][0].endswith("loss 6 % is not above 10 % (bot=bot00, source=bot)")


def test_a_silence_that_speaks_of_many_bots_names_none_of_them_ahead_of_it(harness: PipelineHarness) -> None:
    assert harness.requests.silence_rule("loss", 60_000, "ann: known", harness.now)[0]
    assert harness.requests.silence_rule("loss", None, "ann: enough", harness.now)[0]

    assert [title for _, title, _, _ in messages(harness)] == ["loss is not told for 1 m", "silence on loss ended"]
