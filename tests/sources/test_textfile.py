"""Files that others leave in a folder: each as old as it is, and a broken one costs its own samples, and is seen."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sources.test_command import needs_root, real_workers
from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.core.protocols import SourceCache
from watchdog.sources.textfile import TextfileSource
from watchdog.sources.textfile_folder import MAX_ENTRIES, MAX_FILES, MAX_TOTAL

NOW = 1_700_000_000_000
AGE = 10_000
WRITTEN = NOW - AGE


def write(folder: Path, name: str, text: str | bytes, written: int = WRITTEN) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    set_time(path, written)
    return path


def set_time(path: Path, written: int) -> None:
    os.utime(path, ns=(written * 1_000_000, written * 1_000_000))


def make(folder: Path, **fields: Any) -> TextfileSource:
    return TextfileSource.model_validate({"type": "textfile", "folder": str(folder), **fields})


def read(folder: Path, **fields: Any) -> dict[str, Sample]:
    found = make(folder, **fields).read({}, {}, NOW)
    return {f"{each.name}{dict(each.labels) or ''}": each for each in found}


def error(folder: Path, **fields: Any) -> str:
    with pytest.raises(SourceError) as caught:
        make(folder, **fields).read({}, {}, NOW)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    assert " — " in str(caught.value)
    return str(caught.value)


def names(found: dict[str, Sample]) -> set[str]:
    """Without what the source says itself."""
    return {name for name in found if not name.startswith("textfile_")}


def test_all_files_are_read_and_each_sample_is_as_old_as_its_file(tmp_path: Path) -> None:
    write(tmp_path, "a.prom", "# HELP a x\na 1\n")
    write(tmp_path, "b.prom", 'b{c="d"} 2\n', WRITTEN - 5_000)
    write(tmp_path, "notes.txt", "no metrics")
    write(tmp_path, ".hidden.prom", "no metrics")
    write(tmp_path, "c.prom.123", "half a li")

    assert read(tmp_path) == {
        "a": Sample("a", (), WRITTEN, 1.0),
        "b{'c': 'd'}": Sample("b", (("c", "d"),), WRITTEN - 5_000, 2.0),
        "textfile_mtime_seconds{'file': 'a.prom'}": Sample(
            "textfile_mtime_seconds", (("file", "a.prom"),), NOW, WRITTEN / 1_000
        ),
        "textfile_mtime_seconds{'file': 'b.prom'}": Sample(
            "textfile_mtime_seconds", (("file", "b.prom"),), NOW, (WRITTEN - 5_000) / 1_000
        ),
        "textfile_scrape_error": Sample("textfile_scrape_error", (), NOW, 0.0),
    }


def test_a_file_that_is_not_written_any_more_does_not_look_fresh(tmp_path: Path) -> None:
    path = write(tmp_path, "a.prom", "a 1\n")
    source, cache = make(tmp_path), SourceCache()

    def time_of_a(now: int) -> int:
        return next(each.t for each in source.read({}, cache, now) if each.name == "a")

    assert [time_of_a(NOW + later) for later in (0, 60_000, 3_600_000)] == [WRITTEN] * 3
    set_time(path, NOW + 3_600_000)
    assert time_of_a(NOW + 3_601_000) == NOW + 3_600_000


def test_a_time_on_a_line_is_kept_as_long_as_it_is_not_after_the_file(tmp_path: Path) -> None:
    write(tmp_path, "a.prom", f"a 1 {WRITTEN - 7}\nb 2 {NOW + 7}\n")
    found = read(tmp_path)

    assert found["a"].t == WRITTEN - 7
    assert found["b"].t == WRITTEN


def test_a_clock_that_is_a_little_ahead_is_borne_and_a_file_from_the_future_is_not(tmp_path: Path) -> None:
    write(tmp_path, "a.prom", "a 1\n", NOW + 50_000)
    write(tmp_path, "b.prom", "b 1\n", NOW + 70_000)
    found = read(tmp_path)

    assert names(found) == {"a"}
    assert found["a"].t == NOW
    assert found["textfile_scrape_error"].v == 1


BROKEN = {
    "half written": "b 1\nb_total 2",
    "empty": "",
    "no samples": "# HELP b x\n",
    "no page": "b is fine\n",
    "twice the same": "b 1\nb 2\n",
    "not UTF-8": b"b 1\n# \xff\n",
    "binary": bytes(range(256)) + b"\n",
    "our own name": "textfile_scrape_error 0\n",
    "our other name": 'textfile_mtime_seconds{file="a.prom"} 5\n',
    "too large": "b 1\n" * 300,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_costs_its_own_samples_and_is_seen(
    text: str | bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "a.prom", "a 1\n")
    write(tmp_path, "b.prom", text)
    source, cache = make(tmp_path, max_bytes=1_000), SourceCache()
    for _ in range(2):
        found = {each.name: each.v for each in source.read({}, cache, NOW)}

    assert found == {"a": 1.0, "textfile_mtime_seconds": WRITTEN / 1_000, "textfile_scrape_error": 1.0}
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1, "the log says it once"
    assert told[0].startswith(f"textfile {tmp_path}/b.prom: ")
    write(tmp_path, "b.prom", "b 1\n")
    assert names(read(tmp_path)) == {"a", "b"}


def test_of_a_series_in_two_files_neither_is_believed(tmp_path: Path) -> None:
    write(tmp_path, "a.prom", "a 1\nshared 1\n")
    write(tmp_path, "b.prom", "b 1\nshared 1\n")
    write(tmp_path, "c.prom", 'c 1\nshared{d="e"} 1\n')
    found = read(tmp_path)

    assert names(found) == {"c", "shared{'d': 'e'}"}
    assert found["textfile_scrape_error"].v == 1


@pytest.mark.parametrize(
    "kind", ["fifo", "folder", "link out", "link to a folder", "link to nothing", "unreadable device"]
)
def test_only_files_of_the_folder_are_opened(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    write(folder, "a.prom", "a 1\n")
    write(tmp_path, "secret.prom", "secret 1\n")
    odd = folder / "b.prom"
    match kind:
        case "fifo":
            os.mkfifo(odd)
        case "folder":
            odd.mkdir()
        case "link out":
            odd.symlink_to("../secret.prom")
        case "link to a folder":
            odd.symlink_to(".")
        case "link to nothing":
            odd.symlink_to("nothing.prom")
        case _:
            odd.symlink_to("/dev/zero")
    found = read(folder)

    assert names(found) == {"a"}
    assert found["textfile_scrape_error"].v == 1


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    write(tmp_path, "a.2", "a 2\n")
    (tmp_path / "a.prom").symlink_to("a.2")

    assert read(tmp_path)["a"].v == 2


def test_which_files_are_meant_may_be_said(tmp_path: Path) -> None:
    write(tmp_path, "hourly_a.prom", "a 1\n")
    write(tmp_path, "daily_b.prom", "b 1\n")

    assert names(read(tmp_path, files="hourly_*.prom")) == {"a"}
    assert "there is no file weekly_* in" in error(tmp_path, files="weekly_*")


@pytest.mark.parametrize("files", ["", "../*.prom", "/x", ".*"])
def test_files_beside_the_folder_cannot_be_said(files: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="files is a pattern for names in the folder"):
        make(tmp_path, files=files)


def test_where_nothing_can_be_read_the_source_is_down_and_says_why(tmp_path: Path) -> None:
    assert f"there is no file *.prom in {tmp_path}" in error(tmp_path)
    write(tmp_path, "a.prom", "half a li")
    assert "no file can be read: a.prom: the page breaks off" in error(tmp_path)
    assert "mend folder" in error(tmp_path / "not-there")
    assert "mend folder" in error(tmp_path / "a.prom")


def test_a_large_file_takes_no_place_of_the_others(tmp_path: Path) -> None:
    line = f"# {'x' * 1_000_000}\n"
    write(tmp_path, "a.prom", line * (MAX_TOTAL // len(line)) + "a 1\n")
    write(tmp_path, "b.prom", "b 1\n")
    write(tmp_path, "c.prom", f"{line}c 1\n")
    found = read(tmp_path, max_bytes=MAX_TOTAL)

    assert names(found) == {"b", "c"}
    assert found["textfile_scrape_error"].v == 1


def test_more_files_or_things_than_anybody_needs_are_refused(tmp_path: Path) -> None:
    for number in range(MAX_FILES):
        write(tmp_path, f"{number}.prom", f"a_{number} 1\n")
    assert len(names(read(tmp_path))) == MAX_FILES
    write(tmp_path, "more.prom", "more 1\n")
    assert f"more than {MAX_FILES} files called *.prom" in error(tmp_path)
    for number in range(MAX_ENTRIES - MAX_FILES):
        (tmp_path / f"{number}.txt").touch()
    assert f"more than {MAX_ENTRIES} things" in error(tmp_path)


def test_names_may_be_anything(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\n\x1b\"'.prom")
    odd.write_text("a 1\n")
    set_time(odd, WRITTEN)
    found = make(tmp_path).read({}, {}, NOW)

    assert [dict(each.labels) for each in found if each.name == "textfile_mtime_seconds"] == [
        {"file": "\\udcff\n\x1b\"'.prom"}
    ]
    odd.write_text("half")
    set_time(odd, WRITTEN)
    assert "\\n\\x1b" in error(tmp_path)


@needs_root
def test_a_folder_is_read_by_its_owner(open_folder: Callable[[int], Path], tmp_path: Path) -> None:
    bot = open_folder(40_001)
    write(bot, "a.prom", "a 1\n")
    for path, owner in ((bot / "a.prom", 40_001), (write(bot, "b.prom", "b 1\n"), 0)):
        os.chown(path, owner, owner)
        path.chmod(0o600)
    secret = open_folder(0)
    write(secret, "c.prom", "c 1\n").chmod(0o600)
    (bot / "c.prom").symlink_to(secret / "c.prom")
    with real_workers():
        found = read(bot)

    assert names(found) == {"a"}, "what it may not read is not read for it"
    assert found["textfile_scrape_error"].v == 1


def test_a_file_that_changes_while_it_is_read_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.prom", "a 1\n")
    write(tmp_path, "b.prom", "b 1\n")
    fstat, looks = os.fstat, []

    def grow(fd: int) -> os.stat_result:
        if Path(f"/proc/self/fd/{fd}").readlink() == path:
            looks.append(fd)
            if len(looks) == 3:  # the file is opened, looked at, read, looked at
                with path.open("a") as file:
                    file.write("a_total 2\n")
        return fstat(fd)

    monkeypatch.setattr(os, "fstat", grow)
    found = read(tmp_path)

    assert len(looks) == 3
    assert names(found) == {"b"}
