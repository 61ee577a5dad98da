from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.support.actions import failing_at, json_round_trip, killed_at, make_action
from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.host import tar_archive
from watchdog.host.folder import Folder


@pytest.fixture
def bot_folder(tmp_path: Path) -> Path:
    return make_files(tmp_path / "bot")


def make_files(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "state/deep").mkdir(parents=True)
    (folder / "state/a.db").write_bytes(os.urandom(5_000))
    (folder / "state/deep/ä b").write_text("b")
    (folder / "state/deep/empty").touch()
    (folder / "state/link").symlink_to("deep")
    (folder / "one.json").write_text("{}")
    return folder


def make_archive_step(bot_folder: Path, **more: Any) -> Action:
    fields = {"paths": ["state", "one.json"], "into": "kept", **more}
    return make_action(do="archive", **fields).bind(Target(repo=str(bot_folder)))


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_tree(folder: Path) -> dict[str, bytes | str | None]:
    found: dict[str, bytes | str | None] = {}
    for path in (*folder.joinpath("state").rglob("*"), folder / "state", folder / "one.json"):
        name = str(path.relative_to(folder))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def unpack_archive(bot_folder: Path, before: JsonObject) -> dict[str, bytes | str | None]:
    there = bot_folder / "unpacked"
    there.mkdir()
    subprocess.run(["tar", "-xzf", before["archive"], "-C", there], check=True)
    return read_tree(there)


def test_state_goes_into_an_archive_and_comes_back_whole(bot_folder: Path) -> None:
    was = read_tree(bot_folder)
    step = make_archive_step(bot_folder)
    before = json_round_trip(step.capture())
    assert step.state(before) == "before"
    said = step.apply(before, "k")

    assert step.state(before) == "after"
    assert file_names(bot_folder) == ["kept"]
    assert file_names(bot_folder / "kept") == [Path(before["archive"]).name]
    assert Path(before["archive"]).stat().st_mode & 0o777 == 0o600
    subprocess.run(said.partition("back with: ")[2].split(), check=True)
    assert read_tree(bot_folder) == was


def test_the_name_is_dated_by_the_newest_change_and_is_always_the_same(bot_folder: Path) -> None:
    for path in bot_folder.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)

    name = Path(make_archive_step(bot_folder).capture()["archive"]).name
    assert name.startswith("state-20231114T221320Z-")
    assert Path(make_archive_step(bot_folder).capture()["archive"]).name == name


def test_state_that_the_bot_made_anew_is_not_archived_again(bot_folder: Path) -> None:
    step = make_archive_step(bot_folder)
    before = step.capture()
    step.apply(before, "k")
    (bot_folder / "state").mkdir()

    assert step.state(before) == "after"
    step.apply(before, "k")
    assert (bot_folder / "state").exists()


def test_what_was_written_meanwhile_is_other_and_nothing_is_removed(bot_folder: Path) -> None:
    step = make_archive_step(bot_folder)
    before = step.capture()
    (bot_folder / "state/a.db").write_text("new")
    assert step.state(before) == "other"
    with pytest.raises(ActionError, match=r"changed meanwhile .nothing was removed"):
        step.apply(before, "k")

    assert (bot_folder / "state/a.db").read_text() == "new"
    assert file_names(bot_folder) == ["kept", "one.json", "state"]
    assert file_names(bot_folder / "kept") == []


def test_what_is_written_in_the_last_instant_comes_back(bot_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = make_archive_step(bot_folder)
    before = step.capture()
    real = os.rename

    def rename(old: Any, new: Any, **folders: int) -> None:
        if Path(old).name == "one.json":
            (bot_folder / ".state.trading-watchdog/deep/late").write_text("late")
        real(old, new, **folders)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(ActionError, match="changed meanwhile"):
        step.apply(before, "k")

    assert file_names(bot_folder) == ["kept", "one.json", "state"]
    assert (bot_folder / "state/deep/late").read_text() == "late"


def test_an_archive_that_does_not_read_back_is_not_trusted(bot_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    was = read_tree(bot_folder)
    real = tar_archive.read_back

    def broken(part: BinaryIO, until: float) -> dict[str, str]:
        part.truncate(os.fstat(part.fileno()).st_size // 2)
        return real(part, until)

    monkeypatch.setattr(tar_archive, "read_back", broken)
    with pytest.raises(ActionError, match="does not hold what was written"):
        make_archive_step(bot_folder).apply(make_archive_step(bot_folder).capture(), "k")

    assert read_tree(bot_folder) == was
    assert file_names(bot_folder / "kept") == []


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)
        made.bind(path.name)


def _make_link(bot_folder: Path) -> None:
    (bot_folder / "one.json").rename(bot_folder / "real")
    (bot_folder / "one.json").symlink_to("real")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda bot_folder: _make_socket(bot_folder / "state/s"), "no file or folder"),
        (lambda bot_folder: os.mkfifo(bot_folder / "state/f"), "no file or folder"),
        (_make_link, "no file or folder"),
        (lambda bot_folder: (bot_folder / "one.json").unlink(), "there is no"),
    ],
)
def test_what_is_not_known_is_refused(
    bot_folder: Path, spoil: Callable[[Path], object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bot_folder)
    spoil(bot_folder)
    with pytest.raises(ActionError, match=why):
        make_archive_step(bot_folder).capture()


def test_a_file_that_somebody_writes_is_refused(bot_folder: Path) -> None:
    step = make_archive_step(bot_folder)
    before = step.capture()
    with (bot_folder / "state/a.db").open("r+b"):
        with pytest.raises(ActionError, match=r"a\.db is being written by"):
            step.capture()
        with pytest.raises(ActionError, match=r"a\.db is being written by"):
            step.apply(before, "k")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_another_file_system_is_not_gone_into(bot_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Folder.stat

    def stat(folder: Folder, name: str) -> os.stat_result:
        return Path("/dev/shm").stat() if name == "deep" else real(folder, name)

    monkeypatch.setattr(Folder, "stat", stat)
    with pytest.raises(ActionError, match="another file system"):
        make_archive_step(bot_folder).capture()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"into": "state/kept"}, "lies within"),
        ({"paths": ["state", "state/deep"]}, "named twice"),
        ({"paths": ["."]}, "lies within|there is no"),
        ({"paths": ["state/.."]}, "there is no"),
    ],
)
def test_what_would_swallow_itself_is_refused(bot_folder: Path, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ActionError, match=why):
        make_archive_step(bot_folder, **fields).capture()


def test_not_done_in_time_nothing_is_removed(bot_folder: Path) -> None:
    was = read_tree(bot_folder)
    step = make_archive_step(bot_folder, timeout=1)
    before = step.capture()
    with pytest.raises(ActionError, match="not done in time"):
        step.apply(before, "k")

    assert read_tree(bot_folder) == was
    assert file_names(bot_folder / "kept") == []


@pytest.mark.slow
def test_killed_anywhere_the_archive_or_the_originals_are_whole(tmp_path: Path) -> None:
    for nth in range(100):
        place = make_files(tmp_path / "bot")
        was = read_tree(place)
        step = make_archive_step(place)
        before = json_round_trip(step.capture())
        survived = not killed_at(nth, lambda step=step, before=before: step.apply(before, "k"))  # type: ignore[misc]
        state = step.state(before)
        if state == "before":
            assert read_tree(place) == was
            step.apply(before, "k")
        else:
            assert state == "after"

        assert file_names(place) == ["kept"]
        assert file_names(place / "kept") == [Path(before["archive"]).name]
        assert unpack_archive(place, before) == was
        if survived:
            assert nth > 4
            return
    pytest.fail("it never got through")


def test_failing_anywhere_the_archive_or_the_originals_are_whole(tmp_path: Path) -> None:
    for nth in range(100):
        place = make_files(tmp_path / "bot")
        was = read_tree(place)
        step = make_archive_step(place)
        before = step.capture()
        with failing_at(nth) as came, contextlib.suppress(ActionError):
            step.apply(before, "k")
        if step.state(before) == "before":
            assert read_tree(place) == was
        else:
            assert step.state(before) == "after"
            assert unpack_archive(place, before) == was
        if not came:
            return
    pytest.fail("it never got through")


def test_hard_links_and_long_names_are_kept_as_files(bot_folder: Path) -> None:
    (bot_folder / "state/twin").hardlink_to(bot_folder / "state/a.db")
    (bot_folder / "state" / ("n" * 200)).write_text("long")
    was = read_tree(bot_folder)
    step = make_archive_step(bot_folder)
    before = step.capture()
    step.apply(before, "k")

    assert unpack_archive(bot_folder, before) == was
    with tarfile.open(before["archive"]) as tar:
        assert not [member for member in tar if member.islnk()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_as_root_the_archive_belongs_to_whom_the_state_belongs(bot_folder: Path) -> None:
    for path in (bot_folder, *bot_folder.rglob("*")):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    step = make_archive_step(bot_folder, into="kept/deep")
    before = step.capture()
    step.apply(before, "k")

    assert {path.lstat().st_uid for path in (bot_folder / "kept").rglob("*")} == {1234}
    assert (bot_folder / "kept").stat().st_uid == 1234
