from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.actions.helpers import action, failing_at, killed_at, through_journal
from watchdog.actions import archive as room
from watchdog.model import Action, ActionError, Json, Target


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return fill(tmp_path / "bot")


def fill(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "state/deep").mkdir(parents=True)
    (folder / "state/a.db").write_bytes(os.urandom(5_000))
    (folder / "state/deep/ä b").write_text("b")
    (folder / "state/deep/empty").touch()
    (folder / "state/link").symlink_to("deep")
    (folder / "one.json").write_text("{}")
    return folder


def archive(place: Path, **more: Any) -> Action:
    fields = {"paths": ["state", "one.json"], "into": "kept", **more}
    return action(do="archive", **fields).at(Target(repo=str(place)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tree(folder: Path) -> dict[str, bytes | str | None]:
    found: dict[str, bytes | str | None] = {}
    for path in (*folder.joinpath("state").rglob("*"), folder / "state", folder / "one.json"):
        name = str(path.relative_to(folder))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def unpacked(place: Path, before: Json) -> dict[str, bytes | str | None]:
    there = place / "unpacked"
    there.mkdir()
    subprocess.run(["tar", "-xzf", before["archive"], "-C", there], check=True)
    return tree(there)


def test_state_goes_into_an_archive_and_comes_back_whole(place: Path) -> None:
    was = tree(place)
    step = archive(place)
    before = through_journal(step.before())
    assert step.state(before) == "before"
    said = step.apply(before, "k")

    assert step.state(before) == "after"
    assert names(place) == ["kept"]
    assert names(place / "kept") == [Path(before["archive"]).name]
    assert Path(before["archive"]).stat().st_mode & 0o777 == 0o600
    subprocess.run(said.partition("back with: ")[2].split(), check=True)
    assert tree(place) == was


def test_the_name_is_dated_by_the_newest_change_and_is_always_the_same(place: Path) -> None:
    for path in place.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)

    name = Path(archive(place).before()["archive"]).name
    assert name.startswith("state-20231114T221320Z-")
    assert Path(archive(place).before()["archive"]).name == name


def test_state_that_the_bot_made_anew_is_not_archived_again(place: Path) -> None:
    step = archive(place)
    before = step.before()
    step.apply(before, "k")
    (place / "state").mkdir()

    assert step.state(before) == "after"
    step.apply(before, "k")
    assert (place / "state").exists()


def test_what_was_written_meanwhile_is_other_and_nothing_is_removed(place: Path) -> None:
    step = archive(place)
    before = step.before()
    (place / "state/a.db").write_text("new")
    assert step.state(before) == "other"
    with pytest.raises(ActionError, match=r"changed meanwhile .nothing was removed"):
        step.apply(before, "k")

    assert (place / "state/a.db").read_text() == "new"
    assert names(place) == ["kept", "one.json", "state"]
    assert names(place / "kept") == []


def test_what_is_written_in_the_last_instant_comes_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = archive(place)
    before = step.before()
    real = os.rename

    def rename(old: Any, new: Any) -> None:
        if Path(old).name == "one.json":
            (place / ".state.trading-watchdog/deep/late").write_text("late")
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(ActionError, match="changed meanwhile"):
        step.apply(before, "k")

    assert names(place) == ["kept", "one.json", "state"]
    assert (place / "state/deep/late").read_text() == "late"


def test_an_archive_that_does_not_read_back_is_not_trusted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    was = tree(place)
    real = room._read_back

    def broken(part: Path, until: float) -> dict[str, str]:
        with part.open("r+b") as file:
            file.truncate(part.stat().st_size // 2)
        return real(part, until)

    monkeypatch.setattr(room, "_read_back", broken)
    with pytest.raises(ActionError, match="does not hold what was written"):
        archive(place).apply(archive(place).before(), "k")

    assert tree(place) == was
    assert names(place / "kept") == []


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)
        made.bind(path.name)


def _link(place: Path) -> None:
    (place / "one.json").rename(place / "real")
    (place / "one.json").symlink_to("real")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda place: _socket(place / "state/s"), "no file or folder"),
        (lambda place: os.mkfifo(place / "state/f"), "no file or folder"),
        (_link, "no file or folder"),
        (lambda place: (place / "one.json").unlink(), "there is no"),
    ],
)
def test_what_is_not_known_is_refused(
    place: Path, spoil: Callable[[Path], object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    spoil(place)
    with pytest.raises(ActionError, match=why):
        archive(place).before()


def test_a_file_that_somebody_writes_is_refused(place: Path) -> None:
    step = archive(place)
    before = step.before()
    with (place / "state/a.db").open("r+b"):
        with pytest.raises(ActionError, match=r"a\.db is being written by"):
            step.before()
        with pytest.raises(ActionError, match=r"a\.db is being written by"):
            step.apply(before, "k")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_another_file_system_is_not_gone_into(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = room._lstat

    def lstat(path: Path) -> os.stat_result:
        return real(Path("/dev/shm") if path.name == "deep" else path)

    monkeypatch.setattr(room, "_lstat", lstat)
    with pytest.raises(ActionError, match="another file system"):
        archive(place).before()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"into": "state/kept"}, "lies within"),
        ({"paths": ["state", "state/deep"]}, "named twice"),
        ({"paths": ["."]}, "lies within|there is no"),
        ({"paths": ["state/.."]}, "there is no"),
    ],
)
def test_what_would_swallow_itself_is_refused(place: Path, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ActionError, match=why):
        archive(place, **fields).before()


def test_not_done_in_time_nothing_is_removed(place: Path) -> None:
    was = tree(place)
    step = archive(place, timeout=1)
    before = step.before()
    with pytest.raises(ActionError, match="not done in time"):
        step.apply(before, "k")

    assert tree(place) == was
    assert names(place / "kept") == []


def test_killed_anywhere_the_archive_or_the_originals_are_whole(tmp_path: Path) -> None:
    for nth in range(100):
        place = fill(tmp_path / "bot")
        was = tree(place)
        step = archive(place)
        before = through_journal(step.before())
        survived = not killed_at(nth, lambda step=step, before=before: step.apply(before, "k"))  # type: ignore[misc]
        state = step.state(before)
        if state == "before":
            assert tree(place) == was
            step.apply(before, "k")
        else:
            assert state == "after"

        assert names(place) == ["kept"]
        assert names(place / "kept") == [Path(before["archive"]).name]
        assert unpacked(place, before) == was
        if survived:
            assert nth > 4
            return
    pytest.fail("it never got through")


def test_failing_anywhere_the_archive_or_the_originals_are_whole(tmp_path: Path) -> None:
    for nth in range(100):
        place = fill(tmp_path / "bot")
        was = tree(place)
        step = archive(place)
        before = step.before()
        with failing_at(nth) as came, contextlib.suppress(ActionError):
            step.apply(before, "k")
        if step.state(before) == "before":
            assert tree(place) == was
        else:
            assert step.state(before) == "after"
            assert unpacked(place, before) == was
        if not came:
            return
    pytest.fail("it never got through")


def test_hard_links_and_long_names_are_kept_as_files(place: Path) -> None:
    (place / "state/twin").hardlink_to(place / "state/a.db")
    (place / "state" / ("n" * 200)).write_text("long")
    was = tree(place)
    step = archive(place)
    before = step.before()
    step.apply(before, "k")

    assert unpacked(place, before) == was
    with tarfile.open(before["archive"]) as tar:
        assert not [member for member in tar if member.islnk()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_as_root_the_archive_belongs_to_whom_the_state_belongs(place: Path) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    step = archive(place, into="kept/deep")
    before = step.before()
    step.apply(before, "k")

    assert {path.lstat().st_uid for path in (place / "kept").rglob("*")} == {1234}
    assert (place / "kept").stat().st_uid == 1234
