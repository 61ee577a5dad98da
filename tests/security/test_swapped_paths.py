"""Whatever is swapped for a link, a FIFO, a device or a folder, and whenever: nothing leaves the target's folders."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.security.unprivileged import OUTSIDE, run_in_child, snapshot
from tests.support.actions import json_round_trip, make_action
from tests.support.property_settings import examples
from watchdog.core.errors import ActionError
from watchdog.core.target import Target
from watchdog.host import file_state
from watchdog.rollback import backup

pytestmark = pytest.mark.slow

FILES = {
    "conf/config.py": b"FEATURE = True  # %s\n",
    "data/state/a.db": b"a %s",
    "data/state/deep/b.db": b"b %s",
    "one.json": b'{"one": "%s"}',
    "kept/deep/earlier": b"%s",
    "live/state.json": b'{"n": 2, "of": "%s"}',
    "backups/state.json": b'{"n": 1, "of": "%s"}',
}
KINDS = ("link", "link to nothing", "FIFO", "socket", "device", "folder", "gone")


def apply_step(bot: Path, **fields: Any) -> None:
    step = make_action(**fields).bind(Target(repo=str(bot)))
    before = json_round_trip(step.capture())
    step.preview(before)
    step.apply(before, "k")
    step.state(before)


def back_up_and_restore(bot: Path) -> None:
    paths = [bot / "conf/config.py", bot / "data", bot / "live/none.json"]
    saved = backup.back_up(bot.parent / "copies", paths, None)
    left = {one.path: file_state.file_state(Path(one.path)) for one in saved}
    for one in saved:
        backup.restore_file(Path(one.path), {**one.was, "mode": 0o600}, one.copy, left[one.path])


ACTIONS: dict[str, Callable[[Path], None]] = {
    "flag": lambda bot: apply_step(bot, do="flag", file="conf/config.py", set={"FEATURE": False}),
    "archive": lambda bot: apply_step(bot, do="archive", paths=["data/state", "one.json"], into="kept/deep"),
    "restore": lambda bot: apply_step(bot, do="restore", file="live/state.json", **{"from": "backups/state.json"}),
    "restore what is gone": lambda bot: apply_step(
        bot, do="restore", file="live/new.json", **{"from": "backups/state.json"}
    ),
    "undo": back_up_and_restore,
}
COMPONENTS = {
    "flag": ["conf", "conf/config.py", "conf/.config.py.trading-watchdog"],
    "archive": [
        *("data", "data/state", "data/state/a.db", "data/state/deep", "data/state/deep/b.db", "one.json"),
        *("kept", "kept/deep", "data/.state.trading-watchdog", "data/.state.trading-watchdog/deep"),
        *(".one.json.trading-watchdog", "data/.state.trading-watchdog/a.db"),
    ],
    "restore": ["live", "live/state.json", "live/.state.json.trading-watchdog", "backups", "backups/state.json"],
    "restore what is gone": ["live", "live/new.json", "live/.new.json.trading-watchdog", "backups/state.json"],
    "undo": ["conf", "conf/config.py", "data", "data/state", "data/state/deep/b.db", "live", "live/none.json"],
}


def make_world(top: Path) -> tuple[Path, Path]:
    """A bot's folder, and one with the same names outside of it, whose files all hold the secret."""
    bot, outside = top / "bot", top / "outside"
    for folder, word in ((bot, b"own"), (outside, OUTSIDE)):
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content % word)
    return bot, outside


def swap(path: Path, kind: str, outside: Path) -> None:
    """That path is something else from now on; what was there stands beside it."""
    aside = path.with_name(f"{path.name}-was")
    if os.path.lexists(path):
        path.rename(aside)
    try:
        if kind == "link":
            path.symlink_to(outside)
        elif kind == "link to nothing":
            path.symlink_to(outside.with_name("made-through-a-link"))
        elif kind == "FIFO":
            os.mkfifo(path)
        elif kind == "device" and os.geteuid() == 0:
            os.mknod(path, 0o20666, os.makedev(1, 5))  # endless zeros for whoever reads it
        elif kind in ("device", "socket"):
            with socket.socket(socket.AF_UNIX) as made:
                os.chdir(path.parent)
                made.bind(path.name)
        elif kind == "folder":
            path.mkdir()
            (path / "own").write_text("own")
    except OSError:
        pass  # its folder is gone by now


class Calls:
    """Counts the system calls that name or look at a file, and does something ahead of the nth, once."""

    def __init__(self, nth: int, act: Callable[[], None]) -> None:
        self.count, self._nth, self._act, self._at_work = 0, nth, act, False

    def install(self) -> None:
        """For good: in a process of its own."""
        for name in ("stat", "lstat", "fstat", "readlink", "fsync", "fchmod", "fchown"):
            setattr(os, name, self._counted(getattr(os, name)))
        sys.addaudithook(self._hear)

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **how: Any) -> Any:
            self._tick()
            return real(*args, **how)

        return call

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" or event.startswith("os."):
            self._tick()

    def _tick(self) -> None:
        if self._at_work:
            return
        self._at_work = True
        try:
            if self.count == self._nth:
                self._act()
            self.count += 1
        finally:
            self._at_work = False


def perform(action: str, bot: Path, nth: int, act: Callable[[], None]) -> int:
    """In a process of its own; it comes to its end or is refused, and never hangs. How many calls it made."""

    def go() -> tuple[int, str]:
        calls, said = Calls(nth, act), ""
        calls.install()
        try:
            ACTIONS[action](bot)
        except ActionError as error:
            said = str(error)
        return calls.count, said

    count, said = run_in_child(go)
    assert OUTSIDE.decode() not in said
    return int(count)


@cache
def calls_of(action: str) -> int:
    top = Path(tempfile.mkdtemp())
    try:
        return perform(action, make_world(top)[0], -1, lambda: None)
    finally:
        shutil.rmtree(top)


def contents(folder: Path) -> list[bytes]:
    """Of all regular files, and of what is packed in them."""
    found = []
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        found.append(gzip.decompress(content) if path.name.endswith(".tar.gz") else content)
    return found


@pytest.mark.parametrize("action", ACTIONS)
@settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_nothing_outside_the_targets_folders_changes_and_nothing_is_read_into_them(
    action: str, data: st.DataObject
) -> None:
    nth = data.draw(st.integers(0, calls_of(action)), label="ahead of call")
    component = data.draw(st.sampled_from(COMPONENTS[action]), label="component")
    kind = data.draw(st.sampled_from(KINDS), label="kind")
    top = Path(tempfile.mkdtemp())
    try:
        bot, outside = make_world(top)
        there = outside / component.replace(".trading-watchdog", "").replace("/.", "/")
        was = snapshot(outside)
        perform(action, bot, nth, lambda: swap(bot / component, kind, there))

        assert snapshot(outside) == was
        assert not any(OUTSIDE in content for content in (*contents(bot), *contents(top / "copies")))
        assert {path.name for path in top.iterdir()} <= {"bot", "outside", "copies"}
    finally:
        shutil.rmtree(top)


@pytest.mark.parametrize("action", ACTIONS)
def test_undisturbed_each_of_them_does_its_work(action: str, tmp_path: Path) -> None:
    bot, _ = make_world(tmp_path)
    before = snapshot(bot)

    assert run_in_child(lambda: ACTIONS[action](bot)) is None
    assert snapshot(bot) != before
    assert not list(bot.rglob(".*trading-watchdog"))
