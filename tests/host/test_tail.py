"""A log is followed over every rotation: each line comes once, whenever it was cut and whenever it was looked at."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from watchdog.host.tail import read_new_lines

TEXT = b'{"a": 1}\n{"bb": "two"}\n\n{"c": [3, 3, 3]}\nno json\n{"d": {"e": "\xc3\xa4"}}\n{"a": 1}\n{"f": 66}\n'
LINES = TEXT.split(b"\n")[:-1]


class Reader:
    """Looks at a log again and again, as a process does that remembers nothing but its state."""

    def __init__(self, pattern: Path | str) -> None:
        self.pattern, self.state, self.lines = str(pattern), "{}", list[bytes]()
        self.look()

    def look(self, max_bytes: int = 1 << 30) -> list[bytes]:
        state = json.loads(self.state)
        found = list(read_new_lines(self.pattern, state, max_bytes))
        self.state = json.dumps(state)
        self.lines += found
        return found

    @property
    def behind(self) -> int:
        return int(json.loads(self.state)["behind"])


class Writer:
    """A bot, and what rotates its log."""

    def __init__(self, path: Path, look: Callable[[], object]) -> None:
        self.path, self.look = path, look
        self.file = path.open("ab", buffering=0)

    def write(self, part: bytes) -> None:
        self.file.write(part)

    def reopen(self, path: Path | None = None, mode: str = "ab") -> None:
        self.file.close()
        self.file = (path or self.path).open(mode, buffering=0)

    def beside(self, name: str) -> Path:
        return self.path.with_name(name)


Rotate = Callable[[Writer, bytes, Callable[[], object]], bytes]
"""Rotates; takes what is written next, and returns what is left of it. Calls what it is given between any two steps."""


def rename(writer: Writer, rest: bytes, step: Callable[[], object], to: str = "bot.log.1") -> bytes:
    """The bot writes its line to the end before it hears of it."""
    writer.path.rename(writer.beside(to))
    step()
    end = rest.find(b"\n") + 1
    writer.write(rest[:end])
    step()
    writer.reopen()
    return rest[end:]


def rename_out_of_sight(writer: Writer, rest: bytes, step: Callable[[], object]) -> bytes:
    return rename(writer, rest, step, "archive-of-bot")


def rename_twice(writer: Writer, rest: bytes, step: Callable[[], object]) -> bytes:
    rest = rename(writer, rest, step)
    end = rest.find(b"\n") + 1
    writer.write(rest[:end])
    step()
    writer.beside("bot.log.1").rename(writer.beside("bot.log.2"))
    return rename(writer, rest[end:], step)


def rename_and_pack(writer: Writer, rest: bytes, step: Callable[[], object]) -> bytes:
    rest = rename(writer, rest, step)
    pack(writer.beside("bot.log.1"), writer.beside("bot.log.2.gz"), step)
    return rest


def pack(path: Path, to: Path, step: Callable[[], object]) -> None:
    packed, status = gzip.compress(path.read_bytes()), path.stat()
    with to.open("wb", buffering=0) as file:
        for start in (0, len(packed) // 2):
            file.write(packed[start : len(packed) // 2 if not start else None])
            step()
    os.utime(to, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
    step()


def copy(path: Path, to: Path, step: Callable[[], object]) -> None:
    data = path.read_bytes()
    with to.open("wb", buffering=0) as file:
        step()
        file.write(data[: len(data) // 2])
        step()
        file.write(data[len(data) // 2 :])
        step()


def copy_and_truncate(writer: Writer, rest: bytes, step: Callable[[], object]) -> bytes:
    copy(writer.path, writer.beside("bot.log.1"), step)
    os.truncate(writer.path, 0)
    step()
    return rest


def copy_truncate_and_pack(writer: Writer, rest: bytes, step: Callable[[], object]) -> bytes:
    rest = copy_and_truncate(writer, rest, step)
    pack(writer.beside("bot.log.1"), writer.beside("bot.log.1.gz"), step)
    return rest


def truncate_under_a_writer_that_goes_on_at_its_place(writer: Writer, rest: bytes, step: Callable[[], object]) -> bytes:
    at = writer.file.seek(0, os.SEEK_END)
    writer.reopen(mode="r+b")
    writer.file.seek(at)
    return copy_and_truncate(writer, rest, step)


def new_day(writer: Writer, rest: bytes, step: Callable[[], object]) -> bytes:
    end = rest.find(b"\n") + 1
    writer.write(rest[:end])
    writer.reopen(writer.beside("bot.log.2026-11-30"))
    step()
    return rest[end:]


WAYS = [
    rename,
    rename_out_of_sight,
    rename_twice,
    rename_and_pack,
    copy_and_truncate,
    copy_truncate_and_pack,
    truncate_under_a_writer_that_goes_on_at_its_place,
    new_day,
]


@pytest.mark.parametrize("pattern", ["bot.log", "bot*"])
@pytest.mark.parametrize("looks_between", [False, True], ids=["at the end", "at each step"])
@pytest.mark.parametrize("way", WAYS)
def test_wherever_a_log_is_cut_no_line_is_lost_and_none_comes_twice(
    way: Rotate, looks_between: bool, pattern: str, tmp_path: Path
) -> None:
    for cut in range(len(TEXT) + 1):
        for seen in sorted({0, cut // 2, max(cut - 1, 0), cut}):
            folder = tmp_path / f"{cut}-{seen}"
            folder.mkdir()
            (folder / "bot.log").write_bytes(b"from before\n")
            reader = Reader(folder / pattern)
            writer = Writer(folder / "bot.log", reader.look)
            writer.write(TEXT[:seen])
            reader.look()
            writer.write(TEXT[seen:cut])
            rest = way(writer, TEXT[cut:], reader.look if looks_between else lambda: None)
            for part in (rest[:3], rest[3:]):
                if looks_between:
                    reader.look()
                writer.write(part)
            for _ in range(2):
                reader.look()
            writer.file.close()

            assert reader.lines == LINES, (cut, seen)
            assert not reader.behind
            shutil.rmtree(folder)
