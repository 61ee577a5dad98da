"""A log is followed over every rotation: each line comes once, whenever it was cut and whenever it was looked at."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from watchdog.core.errors import ActionError
from watchdog.host import log_position, tail
from watchdog.host.tail import MAX_LINE, matches_any, newest_lines, read_new_lines

TEXT = b'{"a": 1}\n{"b": "two"}\n\nno json\n{"d": "\xc3\xa4"}\n{"a": 1}\n{"f": 66}\n'
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
        self.file: IO[bytes] = path.open("ab", buffering=0)

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


@pytest.mark.parametrize(
    ("looks_between", "pattern"),
    [
        (True, "bot.log"),
        (False, "bot*"),
        pytest.param(False, "bot.log", marks=pytest.mark.slow),
        pytest.param(True, "bot*", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_wherever_a_log_is_cut_no_line_is_lost_and_none_comes_twice(
    way: Rotate, looks_between: bool, pattern: str, tmp_path: Path
) -> None:
    for cut in range(len(TEXT) + 1):
        for seen in sorted({0, cut // 2, cut}):
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


# ─ what a log may be otherwise ─


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "bot.log"
    path.write_bytes(b"old\n")
    return path


def append(path: Path, part: bytes) -> None:
    with path.open("ab") as file:
        file.write(part)


def test_the_first_look_begins_at_the_end_of_what_is_there(log: Path) -> None:
    append(log, b"half a li")
    reader = Reader(log)

    append(log, b"ne\nnew\n")

    assert reader.look() == [b"half a line", b"new"]


def test_files_that_come_later_are_read_from_their_beginning(log: Path) -> None:
    reader = Reader(log.with_name("*.log"))
    for name in ("b.log", "a.log", "c.txt"):
        log.with_name(name).write_bytes(name.encode() + b"\n")
        os.utime(log.with_name(name), (5_000_000_000, 5_000_000_000))

    assert reader.look() == [b"a.log", b"b.log"]


def test_what_waits_is_known_and_comes_at_the_next_looks(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "_CHUNK", 64)
    monkeypatch.setattr(tail, "MAX_LINE", 50)
    reader = Reader(log)
    lines = [b"line %d" % number for number in range(100)]
    append(log, b"".join(line + b"\n" for line in lines))

    first = reader.look(max_bytes=1)

    assert 0 < len(first) < 20
    assert reader.behind == log.stat().st_size - len(b"old\n" + b"\n".join(first) + b"\n")
    while reader.behind:
        reader.look(max_bytes=1)
    assert reader.lines == lines


def test_nothing_is_read_once_the_time_is_up(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "LEAST_TIME", 0.0)
    state: dict[str, object] = {}
    list(read_new_lines(str(log), state, 1 << 20))
    append(log, b"new\n")

    assert list(read_new_lines(str(log), state, 1 << 20, deadline=0.0)) == []
    assert state["behind"] == 4
    assert list(read_new_lines(str(log), state, 1 << 20)) == [b"new"]


def test_the_state_of_who_stops_in_between_stands_for_what_he_got(log: Path) -> None:
    state: dict[str, object] = {}
    list(read_new_lines(str(log), state, 1 << 20))
    append(log, b"1\n2\n3\n")
    lines = read_new_lines(str(log), state, 1 << 20)

    assert [next(lines), next(lines)] == [b"1", b"2"]
    lines.close()  # type: ignore[attr-defined]

    assert list(read_new_lines(str(log), state, 1 << 20)) == [b"3"]


@pytest.mark.parametrize("ends", [b"\n", b"tail\n"])
def test_a_line_that_is_too_long_is_passed_over_and_counted(log: Path, ends: bytes) -> None:
    reader = Reader(log)
    append(log, b"before\n" + b"x" * (2 * MAX_LINE))
    assert reader.look() == [b"before"]
    append(log, b"x" * MAX_LINE)
    reader.look()

    append(log, ends + b"after\n")

    assert reader.look() == [b"after"]
    assert json.loads(reader.state)["skipped_lines"] == 1


def test_a_file_that_was_cut_back_is_not_read_again(log: Path) -> None:
    reader = Reader(log)
    append(log, b"".join(b"line %03d\n" % number for number in range(200)))
    reader.look()

    os.truncate(log, 1_500)  # as after a power failure
    assert reader.look() == []
    append(log, b"\nnew\n")

    assert reader.look() == [b"", b"new"]


def test_a_file_that_was_written_anew_is_read_from_its_beginning_however_long_it_is(log: Path) -> None:
    reader = Reader(log)
    for text in (b"one\n", b"two, which is longer\n", b"three, which is longer than all before it\n"):
        log.write_bytes(text)
        assert reader.look() == [text.strip()]


def test_an_inode_that_is_used_again_is_another_file(log: Path) -> None:
    reader = Reader(log.with_name("bot*"))
    append(log, b"one\n")
    reader.look()
    inode = log.stat().st_ino
    number = 0
    while True:  # until the file system gives the same one
        log.unlink()
        number += 1
        log.write_bytes(b"another %d\nand its end\n" % number)
        if log.stat().st_ino == inode or number == 50:
            break

    assert reader.look() == [b"another %d" % number, b"and its end"]


def test_what_was_deleted_before_it_was_read_is_gone_and_nothing_else(log: Path) -> None:
    reader = Reader(log)
    append(log, b"lost\n")
    log.unlink()
    assert reader.look() == []

    log.write_bytes(b"new\n")

    assert reader.look() == [b"new"]


def test_after_a_long_sleep_all_that_was_rotated_meanwhile_is_read(log: Path) -> None:
    reader = Reader(log)
    append(log, b"1\n")
    log.rename(log.with_name("bot.log.1"))
    pack(log.with_name("bot.log.1"), log.with_name("bot.log.3.gz"), lambda: None)
    packed = log.with_name("bot.log.2.gz")
    packed.write_bytes(gzip.compress(b"2\n3\n"))
    log.with_name("bot.log.1").write_bytes(b"4\n")
    log.write_bytes(b"5\n")

    assert sorted(reader.look()) == [b"1", b"2", b"3", b"4", b"5"]
    assert reader.look() == []


def test_nulls_ahead_of_a_line_are_a_hole_wherever_the_file_is_cut_and_wherever_they_stand(log: Path) -> None:
    content = b"one\n\0\0two\n\0\0\n\0three\0\n\0\0"
    for cut in range(len(content) + 1):
        log.write_bytes(b"")
        reader = Reader(log)
        reader.look()
        found = []
        for part in (content[:cut], content[cut:], b"\0four\n"):
            append(log, part)
            found += reader.look()

        assert found == [b"one", b"two", b"", b"three\0", b"four"], cut
        log.unlink()


def test_a_packed_file_that_is_damaged_gives_what_is_whole_of_it_once(log: Path) -> None:
    reader = Reader(log)
    packed = gzip.compress(os.urandom(1_000).hex().encode() + b"\n" + os.urandom(50_000).hex().encode())
    log.with_name("bot.log.2.gz").write_bytes(packed[: len(packed) - 3_000])

    assert len(reader.look()) == 1
    assert (reader.look(), reader.behind) == ([], 0)


def test_what_takes_too_long_to_unpack_each_time_is_let_go(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(log)
    append(log, b"1\n2\n")
    reader.look()
    append(log, b"3\n")
    pack(log, log.with_name("bot.log.1.gz"), lambda: None)
    monkeypatch.setattr(tail._Budget, "is_late", property(lambda self: self.left < 1 << 30))
    monkeypatch.setattr(tail._Budget, "is_spent", property(lambda _: False))

    behind = []
    for _ in range(7):
        reader.look(max_bytes=(1 << 30) - 1)
        behind.append(bool(reader.behind))

    assert behind == [True, True, True, True, False, False, False]


def test_a_copy_that_stays_is_not_read(log: Path) -> None:
    reader = Reader(log.with_name("bot*"))
    append(log, b"1\n")
    shutil.copy(log, log.with_name("bot.bak"))
    assert reader.look() == [b"1"]
    append(log, b"2\n")
    assert reader.look() == [b"2"]
    log.unlink()

    assert reader.look() == []


def test_two_files_that_begin_alike_are_two(log: Path) -> None:
    reader = Reader(log.with_name("bot*"))
    log.with_name("bot.a").write_bytes(b"start\n1\n")
    reader.look()
    log.with_name("bot.b").write_bytes(b"start\n")
    assert reader.look() == []  # as yet it could be the beginning of a copy
    append(log.with_name("bot.b"), b"2\n")

    assert reader.look() == [b"start", b"2"]


def test_a_file_that_is_begun_in_the_place_of_one_that_was_rotated_is_read_at_once_however_alike_they_are(
    log: Path,
) -> None:
    reader = Reader(log)
    for number in range(3):
        append(log, b"old\n" * 2)
        assert len(reader.look()) == 2
        if number % 2:
            log.rename(log.with_name("bot.log.1"))
        else:
            shutil.copy(log, log.with_name("bot.log.1"))
            os.truncate(log, 0)


def test_a_link_within_the_folder_is_followed_and_its_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "bot.2026-11-30").write_bytes(b"old\n")
    (tmp_path / "bot.current").symlink_to("bot.2026-11-30")
    both, one = Reader(tmp_path / "bot.*"), Reader(tmp_path / "bot.current")
    append(tmp_path / "bot.2026-11-30", b"1\n")
    assert (both.look(), one.look()) == ([b"1"], [b"1"])
    (tmp_path / "bot.2026-12-01").write_bytes(b"2\n")
    (tmp_path / "bot.current").unlink()
    (tmp_path / "bot.current").symlink_to("bot.2026-12-01")

    assert (both.look(), one.look()) == ([b"2"], [b"2"])


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "secret").write_bytes(b"secret\n")
    (tmp_path / "logs" / "bot.log").symlink_to("../secret")

    with pytest.raises(ActionError, match=r"leads out of .* — name the real one"):
        Reader(tmp_path / "logs" / "bot.log")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "FIFO"])
def test_what_is_no_file_is_refused_by_name_and_passed_over_by_pattern(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "bot.log")

    assert Reader(tmp_path / "bot*").lines == []
    with pytest.raises(ActionError, match="is no regular file but a"):
        Reader(tmp_path / "bot.log")


def test_a_folder_that_is_not_there_and_one_with_wildcards_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Reader(tmp_path / "no" / "bot.log")
    with pytest.raises(ActionError, match="wildcards in a folder's name — "):
        Reader(tmp_path / "*" / "bot.log")


def test_a_state_that_is_none_begins_anew(log: Path) -> None:
    state: dict[str, object] = {"files": [{"file": 5}]}

    assert list(read_new_lines(str(log), state, 1 << 20)) == []
    append(log, b"new\n")
    assert list(read_new_lines(str(log), state, 1 << 20)) == [b"new"]


def test_of_thousands_of_files_few_are_remembered_and_none_is_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_FILES", 20)
    monkeypatch.setattr(log_position, "MAX_FILES", 20)
    monkeypatch.setattr(log_position, "_KEPT", 10)

    def make(number: int) -> None:
        path = tmp_path / f"day{number:04}.log"
        path.write_bytes(b"%d\n" % number)
        os.utime(path, (1_700_000_000 + number * 86_400,) * 2)

    for number in range(100):
        make(number)
    reader = Reader(tmp_path / "day*.log")
    for number in range(100, 160):
        make(number)
        if number % 7 == 0:
            reader.look()
            assert len(json.loads(reader.state)["files"]) <= 20
    reader.look()

    assert reader.lines == [b"%d" % number for number in range(100, 160)]


def test_the_newest_lines_come_from_as_many_files_as_it_takes(log: Path) -> None:
    log.rename(log.with_name("bot.log.1"))
    append(log.with_name("bot.log.1"), b"1\n2\n")
    log.write_bytes(b"3\n4\nhalf a li")

    assert newest_lines(str(log), 1_000) == [b"old", b"1", b"2", b"3", b"4"]
    assert newest_lines(str(log), 17) == [b"2", b"3", b"4"]
    assert newest_lines(str(log), 12) == [b"4"]
    assert matches_any(str(log))
    assert not matches_any(str(log.with_name("other")))
