"""A reloader over real files and a real journal, without a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from watchdog.app.reload import Reloader
from watchdog.app.reload_guard import ReloadGuard
from watchdog.config import Config, load, stat_files
from watchdog.core.model import Message
from watchdog.core.offload import ThreadOffload
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.rules.state_machine import StateKey

MAIN = """\
sources:
  bot: {type: scrape, url: "http://127.0.0.1:1/metrics"}
state: state
"""
RULES = """\
targets: {bot: {unit: b.service}}
kpis: {errors: {expr: errors_total}, age: {expr: tick_age}}
rules:
  - {name: a, kpi: errors, target: bot, warn: {above: 1}}
  - {name: b, kpi: age, target: bot, warn: {above: 1}}
"""


class ReloadHarness:
    """A reloader over real files; swaps and messages are written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rules = folder / "rules" / "a.yaml"
        self.telemetry = Telemetry("0")
        self.applied_configs: list[Config] = []
        self.messages: list[tuple[str, str, tuple[str, ...]]] = []
        self.pool = ThreadOffload(2, "test")
        self.journal = SqliteJournal(folder / "journal.db", durable=False)
        self.firing: list[StateKey] = []
        self.removed_how: list[str] = []
        self.sent_before: list[int] = []
        self.guard = ReloadGuard(self.journal, folder, lambda: 1_700_000_000_000, lambda: self.firing)
        self.reloader = Reloader(
            folder,
            {},
            load(folder, environ={}),
            stat_files(folder),
            offload=self.pool,
            telemetry=self.telemetry,
            guard=self.guard,
            apply_config=self.apply_config,
            notify=self.record_message,
            send_all=self.send_all,
        )

    def apply_config(self, config: Config, removed: str) -> None:
        self.applied_configs.append(config)
        self.removed_how.append(removed)

    async def send_all(self) -> None:
        self.sent_before.append(len(self.applied_configs))

    def record_message(self, message: Message) -> None:
        self.messages.append((message.severity, message.title, message.lines))

    def edit_rules(self, old: str, new: str) -> None:
        text = self.rules.read_text()
        assert old in text
        self.rules.write_text(text.replace(old, new))

    def run(self, *acts: Callable[[], Awaitable[object]]) -> None:
        async def all_of_them() -> None:
            for act in acts:
                await act()

        asyncio.run(all_of_them())

    async def check_files(self) -> None:
        """One look at the files, and the reload that follows from it."""
        await self.reloader.check_files()
        await self.wait_for_reload()

    async def wait_for_reload(self) -> None:
        if self.reloader._task is not None:
            await self.reloader._task

    @property
    def last_reload_successful(self) -> float | None:
        return self.telemetry.registry.get_sample_value("watchdog_config_last_reload_successful")
