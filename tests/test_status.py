"""What `trading-watchdog status` prints, of a real pipeline."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk
from watchdog.cli import look
from watchdog.config import Config
from watchdog.status import status


def printed(desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    known = json.loads(json.dumps(status(desk.config, desk.pipeline, desk.journal, dict.fromkeys(desk.config.sources), desk.now)))

    def answered(_: Config) -> Any:
        return known

    monkeypatch.setattr(look, "ask_status", answered)
    assert look.status(argparse.Namespace(config=desk.folder, json=False)) == 0
    return capsys.readouterr().out.splitlines()


def test_what_fires_stands_above_what_is_well_and_asleep_or_unread_is_not_called_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path)
    desk.rounds(4, error_ratio=0.5, market_open=0, equity=float("nan"))

    lines = printed(desk, monkeypatch, capsys)

    rules = [line.removeprefix("rule").split(" for ")[0].split() for line in lines if line.startswith("rule ")]
    assert rules[:3] == [
        ["errors", "source=bot", "crit", "firing"], ["errors", "source=bot", "warn", "firing"], ["drawdown", "crit", "no", "data"]
    ]  # fmt: skip
    assert rules[3][:3] == ["no-ticks", "not", "judged:"]
    assert any(line.split() == ["kpi", "pairs", "no", "rule", "judges", "it"] for line in lines)
