"""Who may do what with a file outlives its replacement, by whichever action; or people are told that it does not."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.acl import GROUP_OBJ, MASK, NOBODY, OTHER, USER, USER_OBJ, pack_acl, set_acl
from tests.support.actions import GitRepo, failing_at, json_round_trip, killed_at, make_action
from watchdog.core.errors import ActionError
from watchdog.core.target import Target
from watchdog.host import file_metadata, file_state, posix_acl
from watchdog.rollback.undo import UndoStep

pytestmark = pytest.mark.slow

BOT_USER = 12_345
LIST = pack_acl(
    (USER_OBJ, 6, NOBODY), (USER, 6, BOT_USER), (GROUP_OBJ, 0, NOBODY), (MASK, 6, NOBODY), (OTHER, 0, NOBODY)
)
"""Its mask would be the group's right to read and write, were it taken for the group's bits."""


def give_list(path: Path, value: bytes = LIST, name: str = posix_acl.ACCESS) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"no access control lists here: {error.strerror}")


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def access_list(path: Path) -> bytes | None:
    return os.getxattr(path, posix_acl.ACCESS) if posix_acl.ACCESS in os.listxattr(path) else None


def do(step: dict[str, Any], folder: Path) -> str:
    action = make_action(**step).bind(Target(repo=str(folder)))
    before = json_round_trip(action.capture())
    assert action.state(before) == "before"
    said = action.apply(before, "k")
    assert action.state(before) == "after"
    return said


@pytest.fixture
def bot(tmp_path: Path) -> GitRepo:
    """v2 on top of v1 changes config.py and the model and brings new/a.py; state.json has a backup and is not git's."""
    repo = GitRepo(tmp_path / "bot")
    repo.commit("v1", config__py="A = 1\n", model__txt="one\n", __gitignore="state*\n", gone___b__py="b\n")
    repo.git("tag", "v1")
    repo.commit("v2", config__py="A = 2\n", model__txt="two\n", new___a__py="a\n", gone___b__py=None)
    repo.git("tag", "v2")
    repo.write_files(state__json="{}", state__json__backup='{"a": 1}')
    return repo


def undo(folder: Path) -> None:
    """Of model.txt: its content comes from elsewhere, all else from what was noted."""
    path = folder / "model.txt"
    was = file_state.file_state(path)
    copy = folder.parent / "copy"
    copy.write_bytes(path.read_bytes())
    path.unlink()
    path.write_text("three\n")
    step = UndoStep(path=str(path), was=was, copy_of=str(copy), left=file_state.file_state(path), repo=None)
    before = json_round_trip(step.capture())
    assert "not kept" not in step.apply(before, "k")
    assert step.state(before) == "after"


REPLACING: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "flag": ("config.py", lambda folder: do({"do": "flag", "file": "config.py", "set": {"A": 3}}, folder)),
    "git revert": ("model.txt", lambda folder: do({"do": "git", "revert": "v2"}, folder)),
    "git to": ("model.txt", lambda folder: do({"do": "git", "to": "v1"}, folder)),
    "git files": ("model.txt", lambda folder: do({"do": "git", "files": ["model.txt"], "from": "v1"}, folder)),
    "restore": (
        "state.json",
        lambda folder: do({"do": "restore", "file": "state.json", "from": "state.json.backup"}, folder),
    ),
    "undo": ("model.txt", undo),
}


@pytest.mark.parametrize("how", REPLACING)
def test_an_access_list_rights_and_attributes_outlive_a_replacement(bot: GitRepo, how: str) -> None:
    name, replace = REPLACING[how]
    file = bot.path / name
    file.chmod(0o640)
    give_list(file)
    os.setxattr(file, "user.note", b"mine\xff")
    with file.open() as before:  # as long as it is open, no other file gets its number
        said = replace(bot.path)
        assert file.stat().st_ino != os.fstat(before.fileno()).st_ino

    assert access_list(file) == LIST
    assert permissions(file) == 0o660
    assert os.getxattr(file, "user.note") == b"mine\xff"
    assert "not kept" not in (said or "")


@pytest.mark.parametrize("how", REPLACING)
def test_a_file_without_a_list_gets_none_of_its_folders(bot: GitRepo, how: str) -> None:
    """The folder's list came later, and does not hold for this file: nobody may read more than before."""
    name, replace = REPLACING[how]
    file = bot.path / name
    file.chmod(0o640)
    give_list(bot.path, name=posix_acl.DEFAULT)
    replace(bot.path)

    assert access_list(file) is None
    assert permissions(file) == 0o640


@pytest.mark.parametrize("how", REPLACING)
def test_where_a_list_cannot_be_kept_its_mask_is_not_the_groups_right_and_that_is_told(
    bot: GitRepo, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, replace = REPLACING[how]
    file = bot.path / name
    give_list(file)
    real = os.setxattr

    def refused(path: Any, attribute: str, *rest: Any, **more: Any) -> None:
        if attribute == posix_acl.ACCESS:
            raise OSError(95, "Operation not supported")
        real(path, attribute, *rest, **more)

    monkeypatch.setattr(os, "setxattr", refused)
    if how == "undo":
        with pytest.raises(AssertionError, match="not kept: access list"):
            replace(bot.path)
    else:
        assert "not kept: access list (ACL)" in replace(bot.path)

    assert permissions(file) == 0o600


@pytest.mark.parametrize("how", ["flag", "git revert", "restore"])
def test_what_gives_rights_to_whoever_runs_a_file_is_not_kept_and_that_is_told(bot: GitRepo, how: str) -> None:
    name, replace = REPLACING[how]
    (bot.path / name).chmod(0o4755 if how != "git revert" else 0o4644)
    said = replace(bot.path)

    assert "not kept: setuid or setgid" in said
    assert permissions(bot.path / name) & 0o6000 == 0


def kernels_list(folder: Path, mode: int) -> bytes | None:
    """What the kernel itself gives to a file that is made there."""
    os.close(os.open(folder / "probe", os.O_CREAT | os.O_WRONLY, mode))
    try:
        return access_list(folder / "probe")
    finally:
        (folder / "probe").unlink()


def test_new_files_of_git_get_what_their_folder_hands_on(bot: GitRepo) -> None:
    bot.git("rm", "-q", "-r", "new")
    bot.git("commit", "-q", "-m", "without it")
    set_acl(bot.path, users={BOT_USER: 6}, name=posix_acl.DEFAULT)
    (bot.path / "new").mkdir()
    set_acl(bot.path / "new", users={BOT_USER: 4, 999: 4}, name=posix_acl.DEFAULT)
    (bot.path / "new/kept").touch()
    do({"do": "git", "files": ["new/a.py"], "from": "v2"}, bot.path)

    assert access_list(bot.path / "new/a.py") == kernels_list(bot.path / "new", 0o666)
    do({"do": "git", "files": ["gone"], "from": "v1"}, bot.path)
    assert access_list(bot.path / "gone/b.py") == kernels_list(bot.path / "gone", 0o666)
    assert bot.status() == "?? new/kept\n"


def test_new_files_of_git_get_no_list_where_their_folder_has_none(bot: GitRepo) -> None:
    (bot.path / "gone/kept").touch()
    set_acl(bot.path, users={BOT_USER: 6}, name=posix_acl.DEFAULT)
    do({"do": "git", "files": ["gone"], "from": "v1"}, bot.path)

    assert access_list(bot.path / "gone/b.py") is None


def test_a_file_that_comes_back_from_its_backup_gets_what_its_folder_hands_on(bot: GitRepo) -> None:
    (bot.path / "state.json").unlink()
    (bot.path / "state.json.backup").chmod(0o640)
    set_acl(bot.path, users={BOT_USER: 6}, name=posix_acl.DEFAULT)
    do({"do": "restore", "file": "state.json", "from": "state.json.backup"}, bot.path)

    assert access_list(bot.path / "state.json") == kernels_list(bot.path, 0o640)


def test_a_file_that_may_be_run_by_the_commit_may_be_run_by_whom_the_list_lets_read_it(bot: GitRepo) -> None:
    bot.git("update-index", "--chmod=+x", "model.txt")
    bot.git("commit", "-q", "-m", "to be run")
    bot.git("tag", "v3")
    bot.git("reset", "-q", "--hard", "v2")
    give_list(bot.path / "model.txt")
    do({"do": "git", "to": "v3"}, bot.path)

    entries = {entry.tag: entry.permissions for entry in posix_acl.read_acl(bot.path / "model.txt")}
    assert entries == {USER_OBJ: 7, USER: 7, GROUP_OBJ: 0, MASK: 7, OTHER: 0}


def test_failing_anywhere_a_folder_that_had_gone_has_its_list_again(bot: GitRepo, tmp_path: Path) -> None:
    folder = bot.path / "new"
    set_acl(folder, users={BOT_USER: 7}, name=posix_acl.DEFAULT)
    set_acl(folder, users={BOT_USER: 7})
    was = (os.getxattr(folder, posix_acl.DEFAULT), os.getxattr(folder, posix_acl.ACCESS))
    action = make_action(do="git", revert="v2").bind(Target(repo=str(bot.path)))
    before = json_round_trip(action.capture())
    put_back = 0
    for nth in range(0, 100, 4):
        with failing_at(nth):
            try:
                action.apply(before, "k")
            except ActionError:
                put_back += 1
                assert (os.getxattr(folder, posix_acl.DEFAULT), os.getxattr(folder, posix_acl.ACCESS)) == was
        if action.state(before) == "after":
            break
    assert put_back


def test_a_folder_that_went_with_its_files_comes_back_with_its_list(bot: GitRepo) -> None:
    path = bot.path / "new/a.py"
    set_acl(path.parent, users={BOT_USER: 7}, name=posix_acl.DEFAULT)
    path.parent.chmod(0o2770)
    was = json_round_trip(file_state.file_state(path))
    copy = bot.path.parent / "copy"
    copy.write_bytes(path.read_bytes())
    expected = file_metadata.read_metadata((os.open(bot.path, os.O_PATH), "new"))
    path.unlink()
    path.parent.rmdir()
    UndoStep(path=str(path), was=was, copy_of=str(copy), left={"kind": "absent"}, repo=None).apply(
        {"seen": {"kind": "absent"}}, "k"
    )

    assert file_metadata.read_metadata((os.open(bot.path, os.O_PATH), "new")) == expected
    assert path.read_text() == "a\n"


def test_what_an_older_version_noted_of_a_file_is_still_put_back(bot: GitRepo) -> None:
    path = bot.path / "model.txt"
    seen = file_state.file_state(path)
    was = {key: seen[key] for key in ("kind", "sha", "mode", "uid", "gid")}
    file_state.ensure_state(was)
    give_list(path)

    step = UndoStep(path=str(path), was=was, copy_of=None, left=was, repo=None)
    assert step.state({"seen": seen}) == "before"  # its rights are others now
    os.removexattr(path, posix_acl.ACCESS)
    path.chmod(was["mode"])
    assert step.state({"seen": seen}) == "after"


@pytest.mark.parametrize(
    "changed",
    [
        {"acl": "AgAAAA=x"},
        {"acl": "AAAA"},
        {"attributes": {"system.posix_acl_access": "AA=="}},
        {"attributes": {"security.capability": "AA=="}},
        {"attributes": []},
        {"mode": -1},
        {"folders": [{}]},
        {"folders": {}},
    ],
)
def test_what_is_no_metadata_is_refused(bot: GitRepo, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".*"):
        file_state.ensure_state(file_state.file_state(bot.path / "model.txt") | changed)


def test_an_archive_holds_lists_and_attributes_and_says_how_they_come_back(bot: GitRepo) -> None:
    folder = bot.path / "statefolder"
    folder.mkdir()
    (folder / "a").write_text("a\n")
    give_list(folder / "a")
    set_acl(folder, users={BOT_USER: 6}, name=posix_acl.DEFAULT)
    os.setxattr(folder / "a", "user.note", b"mine\xff")
    handed_on = os.getxattr(folder, posix_acl.DEFAULT)
    said = do({"do": "archive", "paths": ["statefolder"], "into": "state.archives"}, bot.path)

    command = said.partition("back with: ")[2].split()
    assert command[:4] == ["tar", "--acls", "--xattrs", "-xzf"]
    with tarfile.open(command[4]) as tar:
        assert tar.getmember("statefolder/a").pax_headers["SCHILY.acl.access"] == (
            f"user::rw-,user:{BOT_USER}:rw-,group::---,mask::rw-,other::---"
        )
    subprocess.run(command, check=True)
    assert access_list(folder / "a") == LIST
    assert os.getxattr(folder, posix_acl.DEFAULT) == handed_on
    assert os.getxattr(folder / "a", "user.note") == b"mine\xff"


def test_another_group_gets_no_more_than_everybody_and_the_loss_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    was = file_metadata.FileMetadata(0o664, os.geteuid(), os.getegid() + 1)

    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    with file.open() as opened:
        assert file_metadata.give_metadata(opened.fileno(), was, owner_may_differ=True) == (f"group {was.gid}",)
        with pytest.raises(PermissionError):
            file_metadata.give_metadata(opened.fileno(), was)

    assert permissions(file) == 0o644


# What a restore lays beside the file

RESTORE = {"do": "restore", "file": "state.json", "from": "state.json.backup"}


def beside(bot: GitRepo) -> list[str]:
    return sorted(path.name for path in bot.path.iterdir() if "state" in path.name)


@pytest.mark.parametrize("can_link", [True, False])
def test_a_restore_that_fails_anywhere_leaves_nothing_beside_the_file(
    bot: GitRepo, can_link: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_link:
        monkeypatch.setattr("watchdog.host.folder.Folder.link", lambda *_: os.link("/nowhere", "/nowhere"))
    action = make_action(**RESTORE).bind(Target(repo=str(bot.path)))
    before = json_round_trip(action.capture())
    failed = 0
    for nth in range(20):
        with failing_at(nth) as failures:
            try:
                action.apply(before, "k")
            except ActionError:
                failed += 1
                assert beside(bot) == ["state.json", "state.json.backup"]
        if not failures or action.state(before) == "after":
            break
    assert failed
    assert len(beside(bot)) == 3


def test_killed_anywhere_what_lies_beside_the_file_is_gone_when_that_is_looked_at(tmp_path: Path, bot: GitRepo) -> None:
    action = make_action(**RESTORE).bind(Target(repo=str(bot.path)))
    before = json_round_trip(action.capture())
    left = []
    for nth in range(20):
        if not killed_at(nth, lambda: action.apply(before, "k")):
            break
        left.append(len(beside(bot)))
        if action.state(before) == "after":
            (bot.path / before["aside"]).unlink()
            (bot.path / "state.json").write_text("{}")
        assert beside(bot) == ["state.json", "state.json.backup"]
    assert max(left) > 2


def test_what_an_earlier_restore_kept_stays_when_a_later_one_fails(bot: GitRepo) -> None:
    do(RESTORE, bot.path)
    (bot.path / "state.json").write_text("{}")
    action = make_action(**RESTORE).bind(Target(repo=str(bot.path)))
    before = json_round_trip(action.capture())
    kept = beside(bot)
    for nth in range(2):
        with failing_at(nth), pytest.raises(ActionError):
            action.apply(before, "k")

    assert beside(bot) == kept
    assert action.state(before) == "before"
    assert beside(bot) == kept


def test_what_somebody_else_wrote_under_that_name_is_theirs(bot: GitRepo) -> None:
    action = make_action(**RESTORE).bind(Target(repo=str(bot.path)))
    before = json_round_trip(action.capture())
    Path(before["aside"]).write_text("mine")
    with pytest.raises(ActionError, match="holds something else"):
        action.apply(before, "k")
    action.state(before)

    assert Path(before["aside"]).read_text() == "mine"
