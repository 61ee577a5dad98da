"""The daemon lets the engine fetch ahead of every round."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from watchdog.app.daemon import Daemon
from watchdog.pipeline.pipeline import Pipeline

MAIN = 'sources: {bot: {type: scrape, url: "http://127.0.0.1:9/metrics", every: 1s}}\nstate: state\n'
RULES = "targets: {bot: {}}\nkpis: {k: {expr: a}}\nrules: [{name: r, kpi: k, target: bot, crit: {above: 1}}]\n"


def test_what_a_round_asks_is_fetched_ahead_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text(MAIN)
    (tmp_path / "rules" / "rules.yaml").write_text(RULES)
    done: list[tuple[str, str | None]] = []

    async def prefetch(self: Pipeline, now: int, source: str | None = None) -> None:
        done.append(("prefetch", source))

    def judge(self: Pipeline, now: int, *sources: str) -> set[str]:
        done.append(("judge", "".join(sources) or None))
        return set()

    monkeypatch.setattr(Pipeline, "prefetch", prefetch)
    monkeypatch.setattr(Pipeline, "judge", judge)
    daemon = Daemon(tmp_path, {})

    async def rounds() -> None:
        await daemon._judge_source("bot")
        await daemon._round()

    try:
        asyncio.run(rounds())
    finally:
        daemon.close()

    assert done == [("prefetch", "bot"), ("judge", "bot"), ("prefetch", None), ("judge", None)]
