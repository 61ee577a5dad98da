"""How long what a source has said is believed: live and in replay alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from tests.support.pipeline_harness import START, PipelineHarness
from tests.support.series_builders import make_pages
from watchdog.core.model import Sample
from watchdog.offline.replay.engine import replay
from watchdog.sources import AnySource
from watchdog.sources.max_age import max_age_of

STATSD = "{type: statsd, listen: '127.0.0.1:8125'}"
LINES = "{type: jsonl, files: /bot/*.jsonl, time: ts, values: {equity: {last: equity}}MORE}"
RULES = """\
targets: {bot: {repo: /srv/bot}}
kpis: {equity: {expr: equity, unit: currency}}
rules:
  - {name: equity, kpi: equity, target: bot, warn: {below: 5}}
  - {name: gone, kpi: equity, target: bot, crit: {below: 0}, if_missing: {then: crit, after: 0s}}
"""


def main_yaml(source: str) -> str:
    return f"sources: {{bot: {source}}}\nstate: state\n"


@pytest.mark.parametrize(
    ("fields", "age"),
    [
        ({"type": "host", "every": "2s"}, 6_000),
        ({"type": "host", "every": "2s", "max_age": "1m"}, 60_000),
        ({"type": "statsd"}, 60_000),
        ({"type": "statsd", "timeout": "2s"}, 3_000),
        ({"type": "statsd", "max_age": "5s"}, 5_000),
        ({"type": "push", "token_file": "/token", "every": "1s", "timeout": "30s"}, 30_000),
        ({"type": "heartbeat", "token_file": "/token", "every": "1s"}, 10_000),
    ],
)
def test_three_reads_or_for_as_long_as_a_source_that_is_told_is_up_or_what_the_entry_says(
    fields: dict[str, Any], age: int
) -> None:
    assert max_age_of(TypeAdapter(AnySource).validate_python(fields)) == age


@pytest.mark.parametrize(
    ("source", "outcomes"),
    [
        (STATSD, ["ok"] * 60 + ["nodata"]),
        (LINES.replace("MORE", ""), ["ok"] * 3 + ["nodata"]),
        (LINES.replace("MORE", ", max_age: 10s"), ["ok"] * 10 + ["nodata"]),
    ],
)
def test_a_value_that_comes_seldom_is_judged_until_it_is_too_old_live_and_in_replay(
    source: str, outcomes: list[str], tmp_path: Path
) -> None:
    harness = PipelineHarness(tmp_path, RULES, main_yaml(source))
    said = [Sample("equity", (), START, 7.0)]
    harness.pipeline.add_samples("bot", said, START)
    seen = []
    for second in range(1, len(outcomes) + 1):
        harness.pipeline.judge(START + second * 1_000)
        (machine,) = (one for key, one in harness.pipeline.machines.items() if key.rule == "equity")
        seen.append(machine.outcome)
    pages = make_pages({"equity{source=bot}": [(START / 1_000, 7.0)]})
    report = replay(harness.config, pages, end=START + len(outcomes) * 1_000, exact=True)
    (trip,) = report.trips

    assert seen == outcomes
    assert trip.rule == "gone"
    assert trip.start == START + len(outcomes) * 1_000
