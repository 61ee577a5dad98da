from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

BASE_RULES = """\
targets:
  bot: {unit: trading-bot.service, repo: /srv/bot}
kpis:
  errors: {expr: errors_total, unit: count, baseline: 2}
  share: {expr: good / all, unit: ratio, baseline: 8%}
plans:
  halt:
    kind: halt
    levels:
      - name: stop
        steps: [{do: flag, file: config.py, set: {TRADING: false}}]
        verify: {that: [entries == 0]}
  repair:
    kind: repair
    mode: auto
    exhausted: halt
    verify: {quiet: 1m}
    levels:
      - {name: flag, steps: [{do: flag, file: config.py, set: {NEW: false}}]}
rules:
  - {name: base-halt, kpi: errors, target: bot, crit: {above: 5, plan: halt}}
  - {name: base-repair, kpi: errors, target: bot, crit: {above: 3, for: 1m, plan: repair}}
"""
MAIN_YAML = """\
sources:
  bot: {type: scrape, url: "http://127.0.0.1:8000/metrics"}
channels:
  chat: {type: slack, token: xoxb-12345678, channel: C0123456}
"""

WriteConfig = Callable[[dict[str, str]], Path]


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    """Files by relative name → the folder that holds them; `watchdog.yaml` and a sound base are there already."""

    def write(files: dict[str, str]) -> Path:
        for name, text in {"watchdog.yaml": MAIN_YAML, "rules/base.yaml": BASE_RULES, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write
