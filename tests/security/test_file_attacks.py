"""What a bot, or somebody beside it, puts in the way of a step that edits, packs, restores or saves its files."""

from __future__ import annotations

import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.security.conftest import Lab
from tests.security.unprivileged import BOT, OUTSIDE, STRANGER, run_in_child, snapshot
from tests.support.actions import make_action
from watchdog.core.errors import ActionError
from watchdog.core.target import Target
from watchdog.host import atomic_file, file_state
from watchdog.plans.models import LogCheck
from watchdog.rollback import backup
from watchdog.rollback.checks import LogFile, LogReader, log_position, read_log

FLAG = {"do": "flag", "file": "conf/config.py", "set": {"FEATURE": False}}
RESTORE = {"do": "restore", "file": "state.json", "from": "state.json.backup"}
ARCHIVE = {"do": "archive", "paths": ["conf"], "into": "kept"}


def apply_as_bot(lab: Lab, fields: dict[str, Any]) -> str:
    def go() -> str:
        step = make_action(**fields).bind(Target(repo=str(lab.bot)))
        return step.apply(step.capture(), "k")

    said: str = run_in_child(go, uid=BOT, seconds=5)
    return said


def _put(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "device":
        os.mknod(path, 0o20666, os.makedev(1, 5))
    else:
        path.mkdir()
    os.chown(path, BOT, BOT)


@pytest.mark.parametrize("kind", ["FIFO", "socket", "device", "folder"])
@pytest.mark.parametrize(
    ("fields", "name"), [(FLAG, "conf/config.py"), (RESTORE, "state.json"), (RESTORE, "state.json.backup")]
)
def test_what_is_no_regular_file_is_refused_at_once(lab: Lab, kind: str, fields: dict[str, Any], name: str) -> None:
    _put(lab.bot / name, kind)

    with pytest.raises(ActionError, match=f"{name} is no regular file but a {kind}"):
        apply_as_bot(lab, fields)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (FLAG, "conf/config.py"),
        (FLAG, "conf"),
        (RESTORE, "state.json"),
        (RESTORE, "state.json.backup"),
        ({**ARCHIVE, "into": "conf/kept", "paths": ["state.json"]}, "conf"),
        ({**ARCHIVE, "paths": ["conf/config.py"]}, "conf"),
    ],
)
def test_a_link_out_of_the_targets_folder_is_refused_though_rights_would_allow_it(
    lab: Lab, fields: dict[str, Any], name: str
) -> None:
    (lab.bot / name).rename(lab.bot / "aside")
    (lab.bot / name).symlink_to(lab.outside / name)
    was = snapshot(lab.outside), snapshot(lab.bot)

    with pytest.raises(ActionError, match=r"leads out of .* name the real one"):
        apply_as_bot(lab, fields)
    assert (snapshot(lab.outside), snapshot(lab.bot)) == was


def test_a_link_within_the_targets_folder_is_followed_and_stays(lab: Lab) -> None:
    (lab.bot / "conf").rename(lab.bot / "real")
    (lab.bot / "conf").symlink_to(lab.bot / "real")

    assert apply_as_bot(lab, FLAG).startswith("FEATURE = false")
    assert (lab.bot / "conf").is_symlink()
    assert (lab.bot / "real/config.py").read_text() == "FEATURE = False\n"


@pytest.mark.parametrize("fields", [FLAG, RESTORE])
def test_a_program_that_runs_as_somebody_else_never_comes_of_a_step(lab: Lab, fields: dict[str, Any]) -> None:
    for name in ("conf/config.py", "state.json", "state.json.backup"):
        (lab.bot / name).chmod(0o6755)
    apply_as_bot(lab, fields)

    assert (lab.bot / str(fields["file"])).stat().st_mode & 0o7777 == 0o755


def test_undo_and_an_archive_bring_no_setuid_back(lab: Lab, tmp_path: Path) -> None:
    config = lab.bot / "conf/config.py"
    config.chmod(0o6755)
    (saved,) = backup.back_up(tmp_path, [config], None)
    backup.restore_file(config, {**saved.was, "mode": 0o6755}, saved.copy)
    assert config.stat().st_mode & 0o7777 == 0o755

    config.chmod(0o6755)
    apply_as_bot(lab, ARCHIVE)
    (made,) = (lab.bot / "kept").iterdir()
    with tarfile.open(made) as tar:
        assert tar.getmember("conf/config.py").mode == 0o755


@pytest.mark.parametrize("fields", [FLAG, RESTORE])
def test_a_file_that_could_not_be_given_back_to_its_owner_is_refused_before_anything_is_written(
    lab: Lab, fields: dict[str, Any]
) -> None:
    path = lab.bot / str(fields["file"])
    os.chown(path, STRANGER, STRANGER)
    path.chmod(0o644)
    was = snapshot(lab.bot)

    with pytest.raises(ActionError, match=f"belongs to {STRANGER}:{STRANGER}"):
        apply_as_bot(lab, fields)
    assert snapshot(lab.bot) == was


@pytest.mark.parametrize("fields", [FLAG, RESTORE, ARCHIVE])
def test_a_dry_run_writes_nothing_whatever_lies_under_our_own_names(lab: Lab, fields: dict[str, Any]) -> None:
    for name in ("conf/.config.py.trading-watchdog", ".state.json.trading-watchdog", ".conf.trading-watchdog"):
        (lab.bot / name).symlink_to(lab.outside / "state.json")
    was = snapshot(lab.bot), snapshot(lab.outside)

    def look() -> str:
        step = make_action(**fields).bind(Target(repo=str(lab.bot)))
        before = step.capture()
        return step.preview(before)

    assert run_in_child(look, uid=BOT)
    assert (snapshot(lab.bot), snapshot(lab.outside)) == was


def test_what_is_written_goes_through_no_link_under_our_own_names(lab: Lab) -> None:
    for name in ("conf/.config.py.trading-watchdog", ".state.json.trading-watchdog"):
        (lab.bot / name).symlink_to(lab.outside / "state.json")
    was = snapshot(lab.outside)
    apply_as_bot(lab, FLAG)
    apply_as_bot(lab, RESTORE)

    assert snapshot(lab.outside) == was
    assert (lab.bot / "state.json").read_text() == '{"n": 1}'


def test_a_parent_that_is_swapped_while_it_is_packed_puts_nothing_foreign_into_the_archive(lab: Lab) -> None:
    """The window is held open: between the look for writers and the packing."""
    (lab.bot / "data").mkdir()
    (lab.bot / "conf").rename(lab.bot / "data/conf")
    os.chown(lab.bot / "data", BOT, BOT)

    def go() -> None:
        step = make_action(do="archive", paths=["data/conf"], into="kept").bind(Target(repo=str(lab.bot)))
        before = step.capture()
        real: Callable[..., None] = atomic_file.ensure_no_writers

        def swap(paths: list[Path]) -> None:
            real(paths)
            if not (lab.bot / "data").is_symlink():
                (lab.bot / "data").rename(lab.bot / "moved")
                (lab.bot / "data").symlink_to(lab.outside)

        atomic_file.ensure_no_writers = swap  # type: ignore[assignment]
        step.apply(before, "k")

    was = snapshot(lab.outside)
    run_in_child(go, uid=BOT)

    assert snapshot(lab.outside) == was
    (made,) = (lab.bot / "kept").iterdir()
    with tarfile.open(made) as tar:
        packed = tar.extractfile("data/conf/config.py")
        assert packed is not None
        assert packed.read() == b"FEATURE = True\n"


def test_a_backup_reads_nothing_behind_a_link_that_came_later(lab: Lab, tmp_path: Path) -> None:
    (lab.bot / "conf").rename(lab.bot / "moved")
    (lab.bot / "conf").symlink_to(lab.outside / "conf")

    with pytest.raises(ActionError, match="is a link by now, and is not followed"):
        backup.back_up(tmp_path, [lab.bot / "conf/config.py"], None)
    with pytest.raises(ActionError, match="is a link by now, and is not followed"):
        backup.restore_file(lab.bot / "conf/config.py", {"kind": "absent"}, None)
    assert OUTSIDE in (lab.outside / "conf/config.py").read_bytes()


def test_undo_overwrites_nothing_that_came_in_the_last_instant(lab: Lab) -> None:
    path = lab.bot / "state.json"
    seen = file_state.file_state(path)
    path.write_text("somebody's")

    with pytest.raises(ActionError, match="changed by somebody else"):
        file_state.restore_file(path, seen, [b'{"n": 2}'], seen)
    with pytest.raises(ActionError, match="changed by somebody else"):
        file_state.restore_file(path, {"kind": "absent"}, (), seen)
    assert path.read_text() == "somebody's"


@pytest.mark.parametrize("kind", ["FIFO", "device", "link"])
def test_a_log_that_may_not_be_read_proves_nothing_and_holds_nobody_up(lab: Lab, kind: str) -> None:
    log = lab.bot / "bot.log"
    log.touch()
    if kind == "link":
        log.unlink()
        log.symlink_to(lab.outside / "state.json")
    else:
        _put(log, kind)
    file = LogFile(str(lab.bot), "bot.log")

    def look() -> tuple[tuple[int, int], tuple[object, ...]]:
        reader = LogReader(LogCheck(file="bot.log", absent=OUTSIDE.decode(), present=OUTSIDE.decode()), {}, (0, 0))
        return log_position(file), tuple(reader.add(read_log(file, 0, 0, 1_000)))

    assert run_in_child(look, uid=BOT, seconds=5) == ((0, 0), (None, None))
