"""A log that is rotated while it is looked at: between any two calls to the kernel, in every way, no line is lost or read twice."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from watchdog.host.folder import Folder
from watchdog.host.plain_log import PlainLog
from watchdog.host.tail import read_new_lines


class Bot:
    """Writes numbered lines, and rotates."""

    def __init__(self, folder: Path, name: str = "bot.log") -> None:
        self.path = folder / name
        self.written = self.days = 0
        self.rotations: list[tuple[float, str, int]] = []
        self.path.touch()

    def write(self, lines: int) -> None:
        with self.path.open("ab") as file:
            for _ in range(lines):
                self.written += 1
                file.write(self.line(self.written))

    def line(self, number: int) -> bytes:
        return b"line %d\n" % number

    def rotated(self, number: int) -> Path:
        return Path(f"{self.path}.{number}")

    def shift(self) -> None:
        for number in range(300, 0, -1):
            for end in ("", ".gz"):
                old = Path(f"{self.path}.{number}{end}")
                if old.exists():
                    old.rename(f"{self.path}.{number + 1}{end}")

    def copy_and_truncate(self) -> None:
        self.shift()
        shutil.copyfile(self.path, self.rotated(1))
        os.truncate(self.path, 0)

    def rename(self) -> None:
        self.shift()
        self.path.rename(self.rotated(1))
        self.path.touch()

    def pack(self) -> None:
        """At once, as without `delaycompress`."""
        self.rename()
        with gzip.open(f"{self.rotated(1)}.gz", "wb") as packed:
            packed.write(self.rotated(1).read_bytes())
        self.rotated(1).unlink()

    def new_day(self) -> None:
        self.days += 1
        self.path.rename(f"{self.path}.2026-12-{self.days:02d}")
        self.path.touch()


class Kernel:
    """Counts what is asked of it in a look, and lets something happen ahead of one of these."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.at = 0, 0
        self.happens: Callable[[], None] = lambda: None
        pread = os.pread
        monkeypatch.setattr(os, "pread", lambda *args: self._counted(pread, *args))
        for owner, name in ((Folder, "names"), (Folder, "stat"), (Folder, "open_file"), (PlainLog, "read")):
            monkeypatch.setattr(owner, name, self._method(getattr(owner, name)))

    def _method(self, call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: self._counted(call, *args)

    def _counted(self, call: Callable[..., Any], *args: Any) -> Any:
        self.count += 1
        if self.count == self.at:
            self.happens()
        return call(*args)


WAYS = ["copy_and_truncate", "rename", "pack", "new_day"]


@pytest.mark.parametrize("lines", [pytest.param(3, id="short"), pytest.param(400, id="long", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "before",
    [None, *(pytest.param(way, marks=pytest.mark.slow) for way in ("copy_and_truncate", "rename"))],
)
@pytest.mark.parametrize("way", WAYS)
def test_wherever_in_a_look_it_is_rotated_each_line_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, before: str | None, lines: int
) -> None:
    """`before`: another rotation that the look finds. After the one in its middle more is written at once, or nothing."""
    kernel = Kernel(monkeypatch)
    for at in range(1, 1_000):
        for later in (lines // 2, lines + 50)[:: 1 if at % 2 else -1][:1]:
            bot, state = Bot(folder(tmp_path, at, later)), "{}"
            seen: list[bytes] = []

            def look() -> None:
                nonlocal state
                after = json.loads(state)
                seen.extend(read_new_lines(str(bot.path), after, 1 << 22))  # noqa: B023
                state = json.dumps(after)

            def rotate() -> None:
                getattr(bot, way)()  # noqa: B023
                bot.write(later)  # noqa: B023

            look()
            bot.write(lines)
            look()
            bot.write(5)
            if before is not None:
                getattr(bot, before)()
                bot.write(7)
            kernel.count, kernel.at, kernel.happens = 0, at, rotate
            look()
            calls = kernel.count
            kernel.at = 0
            look()
            bot.write(1)
            look()
            look()

            assert sorted(seen, key=number_of) == [b"line %d" % n for n in range(1, bot.written + 1)], (at, later)
        if calls < at:
            return
    raise AssertionError("a look has no end")


def folder(top: Path, *names: int) -> Path:
    made = top / "-".join(map(str, names))
    made.mkdir()
    return made


def number_of(line: bytes) -> int:
    return int(line.split()[1])


def test_what_got_the_inode_of_a_file_that_was_deleted_and_is_another_log_is_not_read(tmp_path: Path) -> None:
    """As a log beside it that is begun when gzip has removed what it packed."""
    bot, state = Bot(tmp_path), dict[str, Any]()
    list(read_new_lines(str(bot.path), state, 1 << 22))
    bot.write(50)
    assert len(list(read_new_lines(str(bot.path), state, 1 << 22))) == 50
    bot.rename()
    other = bot.rotated(1).rename(tmp_path / "other.log")
    other.write_bytes(b"not ours\n" * 100)

    for _ in range(3):
        with other.open("ab") as file:
            file.write(b"not ours\n")
        bot.write(2)
        found = list(read_new_lines(str(bot.path), state, 1 << 22))
        assert [number_of(line) for line in found] == [bot.written - 1, bot.written]


def test_a_file_that_is_nothing_but_a_hole_holds_no_line_yet(tmp_path: Path) -> None:
    bot, state = Bot(tmp_path), dict[str, Any]()
    list(read_new_lines(str(bot.path), state, 1 << 22))
    os.truncate(bot.path, 10 << 30)
    assert list(read_new_lines(str(bot.path), state, 1 << 22)) == []
    bot.write(2)
    assert list(read_new_lines(str(bot.path), state, 1 << 22)) == [b"line 1", b"line 2"]


@pytest.mark.slow
def test_hundreds_of_files_that_were_slept_through_are_caught_up_with_however_little_time_a_look_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot, state, seen = Bot(tmp_path), dict[str, Any](), list[bytes]()
    list(read_new_lines(str(bot.path), state, 1 << 22))
    for number in range(200):
        bot.write(20)
        [bot.rename, bot.copy_and_truncate, bot.new_day, bot.pack][number % 4]()
    opened = Kernel(monkeypatch)
    looks = 0
    while len(seen) < bot.written and looks < 10:
        looks += 1
        seen += read_new_lines(str(bot.path), state, 1 << 22, deadline=time.monotonic())

    assert sorted(seen, key=number_of) == [b"line %d" % n for n in range(1, bot.written + 1)]
    assert opened.count < looks * 200 * 25, "each is looked at a few times, and not for each other one"
