"""What `trading-watchdog status` prints, of a real pipeline."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipeline_harness import PipelineHarness
from watchdog.app.status import build_status
from watchdog.cli import status
from watchdog.web.status_page import render_status_page


def get_status(harness: PipelineHarness) -> Any:
    known = build_status(
        harness.config, harness.pipeline, harness.journal, dict.fromkeys(harness.config.sources), harness.now
    )
    return json.loads(json.dumps(known))


def print_status(
    harness: PipelineHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    def answered(*_: object) -> Any:
        return get_status(harness)

    monkeypatch.setattr(status, "fetch_status", answered)
    assert status.status(argparse.Namespace(config=harness.folder, json=False)) == 0
    return capsys.readouterr().out.splitlines()


def test_what_fires_stands_above_what_is_well_and_asleep_or_unread_is_not_called_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = PipelineHarness(tmp_path)
    harness.rounds(4, error_ratio=0.5, market_open=0, equity=float("nan"))

    lines = print_status(harness, monkeypatch, capsys)

    rules = [line.removeprefix("rule").split(" for ")[0].split() for line in lines if line.startswith("rule ")]
    assert rules[:3] == [
        ["errors", "source=bot", "crit", "firing"],
        ["errors", "source=bot", "warn", "firing"],
        ["drawdown", "crit", "no", "data"],
    ]
    assert rules[3][:3] == ["no-ticks", "not", "judged:"]
    assert any(line.split() == ["kpi", "pairs", "no", "rule", "judges", "it"] for line in lines)


def test_the_page_says_what_is_wrong_first_and_takes_no_label_for_its_own_words(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path)
    harness.labelled_series = [("left", (("side", "<b>"),), 1.0), ("right", (("side", "<b>"),), 2.0)]
    harness.rounds(4)
    assert "<h1>Trading Watchdog – nothing is wrong</h1>" in render_status_page(get_status(harness))

    harness.labelled_series.append(("error_ratio", (("pair", "<script>"),), 0.5))
    harness.rounds(4, market_open=0)
    page = render_status_page(get_status(harness))

    assert "<title>Trading Watchdog – crit: errors pair=&lt;script&gt; source=bot</title>" in page
    assert page.index("<h2>Targets</h2>") < page.index("<h2>Rules</h2>") < page.index("<h2>Sources</h2>")
    assert "<script>" not in page
    assert 'class="crit"><dt>errors pair=&lt;script&gt; source=bot</dt><dd>crit firing' in page
