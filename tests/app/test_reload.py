"""Reloads, by hand and by the files themselves: what changes is said, and a bad file changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.reload_harness import MAIN, RULES, ReloadHarness
from watchdog.app import reload
from watchdog.config import Config, describe_changes, stat_files
from watchdog.journal.errors import JournalUnavailableError


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReloadHarness:
    monkeypatch.setattr(reload, "SETTLE_TIME", 0.01)
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text(MAIN)
    (tmp_path / "rules" / "a.yaml").write_text(RULES)
    return ReloadHarness(tmp_path)


def test_what_changed_is_said_by_name(harness: ReloadHarness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    harness.edit_rules(
        "- {name: a, kpi: errors, target: bot, warn: {above: 1}}",
        "- {name: a, kpi: errors, target: bot, warn: {above: 2}}",
    )
    harness.edit_rules("- {name: b", "- {name: c")
    harness.run(harness.reloader.reload)

    (config,) = harness.applied_configs
    assert list(config.rules) == ["a", "c"]
    assert "reloaded: 2 rules; 1 rule changed: a; 1 rule added: c; 1 rule removed: b" in caplog.text
    assert harness.messages == [
        ("info", "Configuration reloaded: 1 rule removed", ("1 rule: b (rules/a.yaml no longer says so)",))
    ]


def test_many_changes_are_counted(harness: ReloadHarness) -> None:
    more = "".join(f"  - {{name: r{number}, kpi: age, target: bot, warn: {{above: 1}}}}\n" for number in range(8))
    harness.rules.write_text(RULES + more)
    old = harness.reloader.config
    harness.run(harness.reloader.reload)

    assert describe_changes(old, harness.applied_configs[0]) == ["8 rules added: r0, r1, r2, r3, r4 and 3 more"]
    assert describe_changes(old, old) == []


def test_a_bad_file_changes_nothing_and_people_are_told_once(
    harness: ReloadHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.edit_rules("kpi: age", "kpi: ages")
    harness.run(harness.reloader.reload)
    harness.edit_rules("kpi: errors", "kpi: erors")
    harness.run(harness.reloader.reload)

    assert harness.applied_configs == []
    assert harness.last_reload_successful == 0
    place = f"{harness.rules}:5:20: there is no KPI ages — did you mean age?"
    assert harness.messages == [("warn", "Configuration not reloaded: 1 mistake; what ran runs on", (place,))]
    assert caplog.text.count("not reloaded") == 3
    assert harness.reloader.systemd_status().endswith("the files on disk have errors and are not in force")


def test_when_the_files_are_mended_that_is_told_too(harness: ReloadHarness) -> None:
    harness.edit_rules("kpi: age", "kpi: ages")
    harness.run(harness.reloader.reload)
    harness.edit_rules("kpi: ages, target: bot, warn: {above: 1}", "kpi: age, target: bot, warn: {above: 3}")
    harness.run(harness.reloader.reload)

    assert len(harness.applied_configs) == 1
    assert harness.last_reload_successful == 1
    assert harness.messages[1:] == [
        ("info", "Configuration reloaded: the files are in force again", ("1 rule changed: b",))
    ]
    assert harness.reloader.systemd_status() == "STATUS=watching 2 rules"


def test_a_file_that_others_may_write_is_not_reloaded(harness: ReloadHarness) -> None:
    harness.rules.chmod(0o666)
    harness.run(harness.check_files)

    assert harness.applied_configs == []
    assert "chmod go-w" in harness.messages[0][2][0]
    harness.rules.chmod(0o644)
    harness.run(harness.check_files)
    assert len(harness.applied_configs) == 1


def test_files_that_were_edited_are_noticed_once(harness: ReloadHarness) -> None:
    harness.run(harness.check_files)
    assert harness.applied_configs == []
    harness.edit_rules("above: 1}}\n  - {name: b", "above: 7}}\n  - {name: b")
    harness.run(harness.check_files, harness.check_files)

    assert len(harness.applied_configs) == 1


@pytest.mark.parametrize("what", ["added", "removed", "moved over", "broken"])
def test_every_kind_of_change_is_noticed(what: str, harness: ReloadHarness) -> None:
    other = harness.rules.with_name("b.yaml")
    if what == "added":
        other.write_text("kpis: {x: {expr: x}}\n")
    elif what == "removed":
        other.write_text("kpis: {x: {expr: x}}\n")
        harness.run(harness.check_files)
        harness.applied_configs.clear()
        other.unlink()
    elif what == "moved over":  # as editors save: the same size, and the time of the original
        new = harness.folder / "new"
        new.write_text(RULES.replace("name: a", "name: z"))
        told = harness.rules.stat()
        os.utime(new, ns=(told.st_atime_ns, told.st_mtime_ns))
        new.rename(harness.rules)
    else:
        harness.rules.write_text("rules: [")
    harness.run(harness.check_files)

    assert len(harness.applied_configs) == (0 if what == "broken" else 1)
    assert len(harness.messages) == (1 if what in ("broken", "moved over") else 0)  # moved over: a rule is gone


def test_files_are_read_when_they_have_come_to_rest(harness: ReloadHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = iter([RULES.replace("name: a", "name: half"), RULES.replace("name: a", "name: whole")])

    async def one_more_is_written(_: float) -> None:
        if (text := next(writes, None)) is not None:
            assert harness.applied_configs == []
            harness.rules.write_text(text)

    harness.rules.write_text("rules: [")
    monkeypatch.setattr(asyncio, "sleep", one_more_is_written)
    harness.run(harness.check_files)

    assert [list(config.rules) for config in harness.applied_configs] == [["whole", "b"]]
    assert [title for _, title, _ in harness.messages] == ["Configuration reloaded: 1 rule removed"]


def test_the_watch_can_be_turned_off(tmp_path: Path, harness: ReloadHarness) -> None:
    (tmp_path / "watchdog.yaml").write_text(MAIN + "reload: {watch: false}\n")
    harness.run(harness.check_files)
    harness.edit_rules("name: a", "name: z")
    harness.run(harness.check_files)
    assert [list(config.rules) for config in harness.applied_configs] == [["a", "b"]]
    harness.run(harness.reloader.reload)

    assert list(harness.applied_configs[-1].rules) == ["z", "b"]


def test_what_takes_a_restart_says_so_and_stays(
    tmp_path: Path, harness: ReloadHarness, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "watchdog.yaml").write_text(
        MAIN.replace("state: state", "state: other") + "web: {listen: 127.0.0.1:1}\n"
    )
    harness.run(harness.reloader.reload)

    assert "state: has changed; that takes a restart" in caplog.text
    assert "web: has changed; that takes a restart" in caplog.text
    assert harness.applied_configs[0].state == tmp_path / "state"
    assert harness.applied_configs[0].web.port == 9464


def test_what_is_asked_while_a_reload_is_at_work_is_done_after_it(harness: ReloadHarness) -> None:
    async def twice() -> None:
        harness.reloader.request_reload()
        await asyncio.sleep(0)  # it has begun
        harness.reloader.request_reload()
        harness.reloader.request_reload()
        await harness.wait_for_reload()

    harness.run(twice)

    assert len(harness.applied_configs) == 2


def test_an_editors_own_files_are_nobodys_business(harness: ReloadHarness) -> None:
    before = stat_files(harness.folder)
    (harness.folder / "rules" / ".a.yaml.swp").write_text("x")
    (harness.folder / "notes.txt").write_text("x")

    assert stat_files(harness.folder) == before


def test_a_mistake_of_ours_while_files_are_read_changes_nothing_either(
    harness: ReloadHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the reload would end the daemon, and the same files would keep it from starting again."""

    def breaks(*_: object, **__: object) -> Config:
        raise RecursionError("too deep")

    monkeypatch.setattr(reload, "load", breaks)
    harness.run(harness.reloader.reload)

    assert harness.applied_configs == []
    assert harness.last_reload_successful == 0
    assert "internal error" in harness.messages[0][2][0]


@pytest.mark.parametrize("broken", [False, True])
def test_a_journal_that_takes_nothing_delays_a_reload_and_ends_none(
    harness: ReloadHarness, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    tries: list[int] = []

    def fails_twice(call: Callable[..., object], *args: object) -> object:
        tries.append(1)
        if len(tries) < 3:
            raise JournalUnavailableError("database is locked", "busy")
        return call(*args)

    apply, notify = harness.reloader._apply_config, harness.reloader._notify
    monkeypatch.setattr(harness.reloader, "_apply_config", lambda *args: fails_twice(apply, *args))
    monkeypatch.setattr(harness.reloader, "_notify", lambda message: fails_twice(notify, message))
    if broken:
        harness.rules.write_text("rules: 5\n")
    else:
        harness.edit_rules("- {name: b", "- {name: c")
    harness.run(harness.reloader.reload)

    assert len(tries) == (3 if broken else 4)  # what it takes away is told as well
    assert [list(config.rules) for config in harness.applied_configs] == ([] if broken else [["a", "c"]])
    assert len(harness.messages) == 1
    assert harness.reloader.failed_tasks == []
