"""Reloads, by hand and by the files themselves: what changes is said, and a bad file changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from watchdog import reload
from watchdog.config import Config, changes, load, looks
from watchdog.offload import Offload
from watchdog.reload import Reloader
from watchdog.telemetry import Telemetry

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


class Desk:
    """A reloader over real files; swaps and messages are written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rules = folder / "rules" / "a.yaml"
        self.telemetry = Telemetry("0")
        self.swaps: list[Config] = []
        self.told: list[tuple[str, str, tuple[str, ...]]] = []
        self.pool = Offload(2, "test")
        self.files = Reloader(
            folder,
            {},
            load(folder, environ={}),
            looks(folder),
            offload=self.pool,
            telemetry=self.telemetry,
            swap=self.swaps.append,
            tell=self.tell,
        )

    def tell(self, severity: str, title: str, lines: Sequence[str]) -> None:
        self.told.append((severity, title, tuple(lines)))

    def edit(self, old: str, new: str) -> None:
        text = self.rules.read_text()
        assert old in text
        self.rules.write_text(text.replace(old, new))

    def run(self, *acts: Callable[[], Awaitable[object]]) -> None:
        async def all_of_them() -> None:
            for act in acts:
                await act()

        asyncio.run(all_of_them())

    async def look(self) -> None:
        """One look at the files, and the reload that follows from it."""
        await self.files.watch()
        await self.finish()

    async def finish(self) -> None:
        if self.files._task is not None:
            await self.files._task

    @property
    def in_force(self) -> float | None:
        return self.telemetry.registry.get_sample_value("watchdog_config_last_reload_successful")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(reload, "REST", 0.01)
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text(MAIN)
    (tmp_path / "rules" / "a.yaml").write_text(RULES)
    return Desk(tmp_path)


def test_what_changed_is_said_by_name(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    desk.edit(
        "- {name: a, kpi: errors, target: bot, warn: {above: 1}}",
        "- {name: a, kpi: errors, target: bot, warn: {above: 2}}",
    )
    desk.edit("- {name: b", "- {name: c")
    desk.run(desk.files.reload)

    (config,) = desk.swaps
    assert list(config.rules) == ["a", "c"]
    assert "reloaded: 2 rules; 1 rule changed: a; 1 rule added: c; 1 rule removed: b" in caplog.text
    assert desk.told == []


def test_many_changes_are_counted(desk: Desk) -> None:
    more = "".join(f"  - {{name: r{number}, kpi: age, target: bot, warn: {{above: 1}}}}\n" for number in range(8))
    desk.rules.write_text(RULES + more)
    old = desk.files.config
    desk.run(desk.files.reload)

    assert changes(old, desk.swaps[0]) == ["8 rules added: r0, r1, r2, r3, r4 and 3 more"]
    assert changes(old, old) == []


def test_a_bad_file_changes_nothing_and_people_are_told_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.edit("kpi: age", "kpi: ages")
    desk.run(desk.files.reload)
    desk.edit("kpi: errors", "kpi: erors")
    desk.run(desk.files.reload)

    assert desk.swaps == []
    assert desk.in_force == 0
    place = f"{desk.rules}:5:20: there is no KPI ages — did you mean age?"
    assert desk.told == [("warn", "Configuration not reloaded: 1 mistake; what ran runs on", (place,))]
    assert caplog.text.count("not reloaded") == 3
    assert desk.files.says().endswith("the files on disk have errors and are not in force")


def test_when_the_files_are_mended_that_is_told_too(desk: Desk) -> None:
    desk.edit("kpi: age", "kpi: ages")
    desk.run(desk.files.reload)
    desk.edit("kpi: ages, target: bot, warn: {above: 1}", "kpi: age, target: bot, warn: {above: 3}")
    desk.run(desk.files.reload)

    assert len(desk.swaps) == 1
    assert desk.in_force == 1
    assert desk.told[1:] == [("info", "Configuration reloaded: the files are in force again", ("1 rule changed: b",))]
    assert desk.files.says() == "STATUS=watching 2 rules"


def test_a_file_that_others_may_write_is_not_reloaded(desk: Desk) -> None:
    desk.rules.chmod(0o666)
    desk.run(desk.look)

    assert desk.swaps == []
    assert "chmod go-w" in desk.told[0][2][0]
    desk.rules.chmod(0o644)
    desk.run(desk.look)
    assert len(desk.swaps) == 1


def test_files_that_were_edited_are_noticed_once(desk: Desk) -> None:
    desk.run(desk.look)
    assert desk.swaps == []
    desk.edit("above: 1}}\n  - {name: b", "above: 7}}\n  - {name: b")
    desk.run(desk.look, desk.look)

    assert len(desk.swaps) == 1


@pytest.mark.parametrize("what", ["added", "removed", "moved over", "broken"])
def test_every_kind_of_change_is_noticed(what: str, desk: Desk) -> None:
    other = desk.rules.with_name("b.yaml")
    if what == "added":
        other.write_text("kpis: {x: {expr: x}}\n")
    elif what == "removed":
        desk.rules.unlink()
    elif what == "moved over":  # as editors save: the same size, and the time of the original
        new = desk.folder / "new"
        new.write_text(RULES.replace("name: a", "name: z"))
        told = desk.rules.stat()
        os.utime(new, ns=(told.st_atime_ns, told.st_mtime_ns))
        new.rename(desk.rules)
    else:
        desk.rules.write_text("rules: [")
    desk.run(desk.look)

    assert len(desk.swaps) == (0 if what == "broken" else 1)
    assert len(desk.told) == (1 if what == "broken" else 0)


def test_files_are_read_when_they_have_come_to_rest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = iter([RULES.replace("name: a", "name: half"), RULES.replace("name: a", "name: whole")])

    async def one_more_is_written(_: float) -> None:
        if (text := next(writes, None)) is not None:
            assert desk.swaps == []
            desk.rules.write_text(text)

    desk.rules.write_text("rules: [")
    monkeypatch.setattr(asyncio, "sleep", one_more_is_written)
    desk.run(desk.look)

    assert [list(config.rules) for config in desk.swaps] == [["whole", "b"]]
    assert desk.told == []


def test_the_watch_can_be_turned_off(tmp_path: Path, desk: Desk) -> None:
    (tmp_path / "watchdog.yaml").write_text(MAIN + "reload: {watch: false}\n")
    desk.run(desk.look)
    desk.edit("name: a", "name: z")
    desk.run(desk.look)
    assert [list(config.rules) for config in desk.swaps] == [["a", "b"]]
    desk.run(desk.files.reload)

    assert list(desk.swaps[-1].rules) == ["z", "b"]


def test_what_takes_a_restart_says_so_and_stays(tmp_path: Path, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "watchdog.yaml").write_text(
        MAIN.replace("state: state", "state: other") + "web: {listen: 127.0.0.1:1}\n"
    )
    desk.run(desk.files.reload)

    assert "state: has changed; that takes a restart" in caplog.text
    assert "web: has changed; that takes a restart" in caplog.text
    assert desk.swaps[0].state == tmp_path / "state"
    assert desk.swaps[0].web.port == 9464


def test_what_is_asked_while_a_reload_is_at_work_is_done_after_it(desk: Desk) -> None:
    async def twice() -> None:
        desk.files.ask()
        await asyncio.sleep(0)  # it has begun
        desk.files.ask()
        desk.files.ask()
        await desk.finish()

    desk.run(twice)

    assert len(desk.swaps) == 2


def test_an_editors_own_files_are_nobodys_business(desk: Desk) -> None:
    before = looks(desk.folder)
    (desk.folder / "rules" / ".a.yaml.swp").write_text("x")
    (desk.folder / "notes.txt").write_text("x")

    assert looks(desk.folder) == before


def test_a_mistake_of_ours_while_files_are_read_changes_nothing_either(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the reload would end the daemon, and the same files would keep it from starting again."""

    def breaks(*_: object, **__: object) -> Config:
        raise RecursionError("too deep")

    monkeypatch.setattr(reload, "load", breaks)
    desk.run(desk.files.reload)

    assert desk.swaps == []
    assert desk.in_force == 0
    assert "internal error" in desk.told[0][2][0]
